// Numbers, sizes and times in words. Times are in the viewer's zone; UTC is a hover away.

const NUMBER = new Intl.NumberFormat("en");
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const CLOCK_SHORT = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The bridge's clock, which ages are measured by: the viewer's may be wrong. */
const bridgeClock = { ahead: 0, now: () => Date.now() + bridgeClock.ahead };

const number = (n) => NUMBER.format(n);

function counted(n, noun) {
  return `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
}

function perSecond(rate) {
  if (rate === undefined) return "–";
  if (rate === 0) return "0/s";
  if (rate < 0.05) return "<0.1/s";
  return `${rate < 10 ? rate.toFixed(1) : number(Math.round(rate))}/s`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A length of time in its two largest units. */
function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([length]) => s >= length);
  const whole = Math.floor(s / units[first][0]);
  const rest = Math.floor((s % units[first][0]) / units[first + 1][0]);
  const more = rest > 0 && first < 2 ? ` ${rest} ${units[first + 1][1]}` : "";
  return `${whole} ${units[first][1]}${more}`;
}

function ago(at, now = bridgeClock.now()) {
  const passed = now - new Date(at);
  return passed < 1000 ? "just now" : `${span(passed)} ago`;
}

function until(at, now = bridgeClock.now()) {
  const left = new Date(at) - now;
  return left < 1000 ? "due" : `in ${span(left)}`;
}

/** The time of day, with the day unless it is today. */
function clock(at) {
  const time = new Date(at);
  const today = new Date(bridgeClock.now()).toDateString() === time.toDateString();
  return today ? CLOCK.format(time) : `${DAY.format(time)} ${CLOCK.format(time)}`;
}

const utc = (at) => `${new Date(at).toISOString().replace("T", " ").replace("Z", "")} UTC`;

/** The viewer's zone as a person says it, such as "Europe/Berlin (UTC+01:00)". */
function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const two = (n) => String(Math.floor(Math.abs(n))).padStart(2, "0");
  const offset = minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "−" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
  return ZONE === "UTC" ? "UTC" : `${ZONE} (${offset})`;
}
