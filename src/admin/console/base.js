// The names that every file below uses. Together the files are one module; see console.rs for their order.

const { h, render } = preact;
const { useEffect, useLayoutEffect, useMemo, useRef, useState } = preactHooks;
/** Markup as tagged templates. What is put into them becomes text, never markup. */
const html = htm.bind(h);

/** Puts class names together, leaving out what is not so. */
const classes = (...names) => names.filter(Boolean).join(" ");
