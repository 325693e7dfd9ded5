// What was given up: grouped by destination and cause, chosen, and made due again after a look at what that means.

const NEWEST = 1000;

/** Groups dead letters by destination and reason, the largest group first. */
function groupsOf(letters) {
  const groups = new Map();
  for (const letter of letters) {
    const key = `${letter.destination}\n${letter.reason}`;
    if (!groups.has(key)) groups.set(key, { key, destination: letter.destination, reason: letter.reason, letters: [] });
    groups.get(key).letters.push(letter);
  }
  return [...groups.values()].sort((a, b) => b.letters.length - a.letters.length);
}

/** Says which types are in a group, the most frequent first. */
function typesOf(letters) {
  const counts = new Map();
  for (const { kind } of letters) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const names = [...counts].sort((a, b) => b[1] - a[1]).map(([kind]) => kind || "(no type)");
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
}

/** One request for each destination, which are replayed apart. */
function requestsFor(letters) {
  const byDestination = new Map();
  for (const { destination, event } of letters) {
    byDestination.set(destination, [...(byDestination.get(destination) ?? []), event]);
  }
  return [...byDestination].map(([destination, events]) => ({ destination, events }));
}

/** Replays, and says that it is meant where the bridge wants a large one confirmed: the dialog has just done so. */
async function askReplay(request) {
  try {
    return await tell("/api/v1/dead/replay", request);
  } catch (refused) {
    if (refused.code !== "not_confirmed") throw refused;
    return tell("/api/v1/dead/replay", { ...request, confirmed: true });
  }
}

/** Asks what a replay would do, shows it, and does it when told to. */
function Replay({ requests, notify, onClose }) {
  const [plan, setPlan] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const all = (dry_run) => Promise.all(requests.map((request) => askReplay({ ...request, dry_run })));
  const sum = (answers) => answers.reduce((sum, { count }) => sum + count, 0);
  const look = () => {
    setProblem(null);
    all(true).then((answers) => setPlan(answers.map(({ count }) => count)), setProblem);
  };
  useEffect(look, []);
  const replay = async () => {
    setBusy(true);
    try {
      notify(`${counted(sum(await all(false)), "dead letter")} made due again`);
      onClose(true);
    } catch (refused) {
      setProblem(refused);
      setBusy(false);
    }
  };
  const total = plan?.reduce((sum, count) => sum + count, 0);
  return html`<${Dialog} title="Replay dead letters" onClose=${() => onClose(false)}>
    <${Problem} problem=${problem} again=${plan === null ? look : null} />
    <p class="dry-run" role="status">${plan === null ? "Counting, changing nothing…" : html`Dry run: <b>${counted(total, "dead letter")}</b> would be made due again.`}</p>
    <ul class="plan">${requests.map(({ destination }, at) => html`<li><b>${destination}</b> ${plan === null ? "…" : counted(plan[at], "dead letter")}</li>`)}</ul>
    <p class="note">The retries begin anew, with the same body and <code>x-zm-request-id</code>. A handler may see an event a second time.</p>
    <div class="buttons">
      <button type="button" class="main" disabled=${busy || !total} onClick=${replay}>${total ? `Replay ${number(total)}` : "Replay"}</button>
      <button type="button" class="quiet" onClick=${() => onClose(false)}>Cancel</button>
    </div>
  <//>`;
}

function Letters({ letters, chosen, toggle, operator }) {
  const columns = [{ title: "", label: "Choose", class: "pick" }, { title: "Event", class: "num" }, { title: "Type", class: "grow" }, { title: "Received" }, { title: "Given up" }, { title: "Attempts", class: "num" }];
  const cells = (letter) => [
    operator && html`<input type="checkbox" aria-label="Choose event ${letter.event} at ${letter.destination}" checked=${chosen.has(letter)} onChange=${() => toggle([letter])} />`,
    html`<a href="#/events/${letter.event}">${letter.event}</a>`,
    html`<span class="type">${letter.kind || "(no type)"}</span>`,
    html`<${Time} at=${letter.received_at} />`, html`<${Time} at=${letter.dead_at} />`, letter.attempts,
  ];
  return html`<${Table} label="Dead letters" columns=${columns} rows=${letters} rowKey=${({ event, destination }) => `${event} ${destination}`} cells=${cells} />`;
}

function Dead({ choice, live, operator, notify }) {
  const { data, problem, again } = useAnswer(query("/api/v1/dead", { destination: choice.destination, limit: NEWEST }));
  const [chosen, setChosen] = useState(new Set());
  const [replay, setReplay] = useState(null);
  const groups = useMemo(() => groupsOf(data?.dead ?? []), [data]);
  useEffect(() => setChosen(new Set()), [data]);
  const dead = live.status.destinations.reduce((sum, { backlog }) => sum + (backlog?.dead ?? 0), 0);
  const first = useRef(true);
  useEffect(() => { if (first.current) first.current = false; else again(); }, [dead]);
  // A group is chosen whole, or not.
  const toggle = (letters) => setChosen((old) => {
    const next = new Set(old);
    const whole = letters.every((letter) => old.has(letter));
    for (const letter of letters) if (whole) next.delete(letter); else next.add(letter);
    return next;
  });
  const actions = operator && html`<button type="button" class="main" disabled=${chosen.size === 0} onClick=${() => setReplay(requestsFor([...chosen]))}>
    ${chosen.size === 0 ? "Replay…" : `Replay ${number(chosen.size)}…`}</button>`;
  return html`<${View} title="Dead letters" actions=${actions}
    note="Given up, and kept until they are replayed: mend the cause first, then replay.">
    <${Problem} problem=${problem} again=${again} />
    ${data?.next && html`<p class="note">These are the newest ${number(data.dead.length)} of ${number(dead)}.</p>`}
    ${data && groups.length === 0 && html`<${Empty} title="Nothing was given up.">An event that no handler takes is tried again by its destination's retries before it comes here.<//>`}
    ${groups.map(({ key, destination, reason, letters }) => html`<section class="panel group" key=${key} aria-label="${destination}: ${reason}">
      <div class="group-head">
        ${operator && html`<input type="checkbox" aria-label="Choose all ${letters.length} of ${destination}, ${reason}"
          checked=${letters.every((letter) => chosen.has(letter))} onChange=${() => toggle(letters)} />`}
        <h2><span>${destination}</span> <span class="cause">${reason}</span></h2>
        <b class="count">${number(letters.length)}</b>
      </div>
      <p class="note">${typesOf(letters)}; given up from <${Time} at=${letters.at(-1).dead_at} /> to <${Time} at=${letters[0].dead_at} /></p>
      <details><summary>Each of them</summary><${Letters} letters=${letters} chosen=${chosen} toggle=${toggle} operator=${operator} /></details>
    </section>`)}
    ${replay && html`<${Replay} requests=${replay} notify=${notify} onClose=${(done) => { setReplay(null); if (done) again(); }} />`}
  <//>`;
}
