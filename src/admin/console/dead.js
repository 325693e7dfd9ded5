// What was given up: grouped by destination and cause, chosen, and made due again after a look at what that means.

const NEWEST = 1000;

/** Asks for the groups until all dead letters are counted; a group may come in several parts. */
async function askGroups(destination, signal) {
  const groups = new Map();
  let after;
  do {
    const part = await ask(query("/api/v1/dead/groups", { destination, after }), { signal });
    for (const group of part.groups) {
      const known = groups.get(keyOf(group));
      groups.set(keyOf(group), known ? { ...group, count: known.count + group.count, sample: Math.max(known.sample, group.sample),
        oldest_at: known.oldest_at < group.oldest_at ? known.oldest_at : group.oldest_at,
        newest_at: known.newest_at > group.newest_at ? known.newest_at : group.newest_at } : group);
    }
    after = part.next ?? undefined;
  } while (after !== undefined);
  return { groups: [...groups.values()].sort((one, other) => other.count - one.count) };
}

const keyOf = ({ destination, cause }) => `${destination}\n${cause}`;

/** Says how many are chosen of a group: all of it, or some of its events. */
const chosenOf = ({ count }, part) => (part === "all" ? count : part?.size ?? 0);

/** One request for each group of which something is chosen. */
function requestsFor(groups, chosen) {
  return groups.filter((group) => chosenOf(group, chosen.get(keyOf(group))) > 0).map((group) => {
    const { destination, cause } = group;
    const part = chosen.get(keyOf(group));
    return part === "all" ? { destination, cause } : { destination, cause, events: [...part] };
  });
}

/** Replays, or only counts; one that takes longer than its answer is watched until it is done. */
async function askReplay(request, dry_run) {
  // The dialog has shown how many there are: that is what a large replay has to be confirmed for.
  let answer = await tell("/api/v1/dead/replay", { ...request, dry_run, confirmed: !dry_run });
  while (!answer.done && answer.id !== null) {
    await new Promise((after) => setTimeout(after, 500));
    answer = await ask(`/api/v1/replays/${answer.id}`);
  }
  return answer.count;
}

/** Asks what a replay would do, shows it, and does it when told to. */
function Replay({ requests, notify, onClose }) {
  const [plan, setPlan] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  // One after the other: only so many may be under way at once.
  const all = async (dry_run) => {
    const counts = [];
    for (const request of requests) counts.push(await askReplay(request, dry_run));
    return counts;
  };
  const sum = (counts) => counts.reduce((sum, count) => sum + count, 0);
  const look = () => {
    setProblem(null);
    all(true).then(setPlan, setProblem);
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
  const total = plan && sum(plan);
  return html`<${Dialog} title="Replay dead letters" onClose=${() => onClose(false)}>
    <${Problem} problem=${problem} again=${plan === null ? look : null} />
    <p class="dry-run" role="status">${plan === null ? "Counting, changing nothing…" : html`Dry run: <b>${counted(total, "dead letter")}</b> would be made due again.`}</p>
    <ul class="plan">${requests.map(({ destination, cause }, at) => html`<li><b>${destination}</b> ${cause}: ${plan === null ? "…" : counted(plan[at], "dead letter")}</li>`)}</ul>
    <p class="note">The retries begin anew, with the same body and <code>x-zm-request-id</code>. A handler may see an event a second time.</p>
    <div class="buttons">
      <button type="button" class="main" disabled=${busy || !total} onClick=${replay}>${total ? `Replay ${number(total)}` : "Replay"}</button>
      <button type="button" class="quiet" onClick=${() => onClose(false)}>Cancel</button>
    </div>
  <//>`;
}

function Letters({ group, part, toggle, operator }) {
  const { destination, cause, count } = group;
  const { data, problem, again } = useAnswer(query("/api/v1/dead", { destination, cause, limit: NEWEST }));
  const first = useRef(true);
  useEffect(() => { if (first.current) first.current = false; else again(); }, [count]);
  const columns = [{ title: "", label: "Choose", class: "pick" }, { title: "Event", class: "num" }, { title: "Type", class: "grow" }, { title: "Received" }, { title: "Given up" }, { title: "Attempts", class: "num" }];
  const cells = (letter) => [
    operator && html`<input type="checkbox" aria-label="Choose event ${letter.event} at ${letter.destination}" checked=${part === "all" || part?.has(letter.event)}
      onChange=${() => toggle(letter.event, data.dead.map(({ event }) => event))} />`,
    html`<a href="#/events/${letter.event}">${letter.event}</a>`,
    html`<span class="type">${letter.kind || "(no type)"}</span>`,
    html`<${Time} at=${letter.received_at} />`, html`<${Time} at=${letter.dead_at} />`, letter.attempts,
  ];
  return html`<${Problem} problem=${problem} again=${again} />
    ${data?.next && html`<p class="note">These are the newest ${number(data.dead.length)} of ${number(count)}.</p>`}
    ${data && html`<${Table} label="Dead letters" columns=${columns} rows=${data.dead} rowKey=${({ event }) => event} cells=${cells} />`}`;
}

function Group({ group, part, choose, operator }) {
  const { destination, cause, count, oldest_at, newest_at, sample } = group;
  const [open, setOpen] = useState(false);
  // To leave one out of a group that was chosen whole is to choose the others that are shown.
  const toggle = (event, shown) => {
    const next = new Set(part === "all" ? shown : part);
    if (!next.delete(event)) next.add(event);
    choose(next);
  };
  return html`<section class="panel group" aria-label="${destination}: ${cause}">
    <div class="group-head">
      ${operator && html`<input type="checkbox" aria-label="Choose all ${count} of ${destination}, ${cause}"
        checked=${chosenOf(group, part) === count} onChange=${() => choose(chosenOf(group, part) === count ? null : "all")} />`}
      <h2><span>${destination}</span> <span class="cause">${cause}</span></h2>
      <b class="count">${number(count)}</b>
    </div>
    <p class="note">Given up from <${Time} at=${oldest_at} /> to <${Time} at=${newest_at} />; the newest is event <a href="#/events/${sample}">${sample}</a></p>
    <details onToggle=${(toggled) => setOpen(toggled.currentTarget.open)}><summary>Each of them</summary>
      ${open && html`<${Letters} group=${group} part=${part} toggle=${toggle} operator=${operator} />`}</details>
  </section>`;
}

function Dead({ choice, live, operator, notify }) {
  const { data, problem, again } = useAnswer(query("#/dead", { destination: choice.destination }), undefined, (signal) => askGroups(choice.destination, signal));
  // By group: "all", or the set of its events that are chosen.
  const [chosen, setChosen] = useState(new Map());
  const [replay, setReplay] = useState(null);
  const groups = data?.groups ?? [];
  useEffect(() => setChosen(new Map()), [data]);
  const dead = live.status.destinations.reduce((sum, { backlog }) => sum + (backlog?.dead ?? 0), 0);
  const first = useRef(true);
  useEffect(() => { if (first.current) first.current = false; else again(); }, [dead]);
  const choose = (group) => (part) => setChosen((old) => new Map(old).set(keyOf(group), part));
  const total = groups.reduce((sum, group) => sum + chosenOf(group, chosen.get(keyOf(group))), 0);
  const actions = operator && html`<button type="button" class="main" disabled=${total === 0} onClick=${() => setReplay(requestsFor(groups, chosen))}>
    ${total === 0 ? "Replay…" : `Replay ${number(total)}…`}</button>`;
  return html`<${View} title="Dead letters" actions=${actions}
    note="Given up, and kept until they are replayed: mend the cause first, then replay.">
    <${Problem} problem=${problem} again=${again} />
    ${data && groups.length === 0 && html`<${Empty} title="Nothing was given up.">An event that no handler takes is tried again by its destination's retries before it comes here.<//>`}
    ${groups.map((group) => html`<${Group} key=${keyOf(group)} group=${group} part=${chosen.get(keyOf(group))} choose=${choose(group)} operator=${operator} />`)}
    ${replay && html`<${Replay} requests=${replay} notify=${notify} onClose=${(done) => { setReplay(null); if (done) again(); }} />`}
  <//>`;
}
