// What must be accounted for: gaps, in which Zoom's events were lost, and what operators changed.

function Acknowledge({ gap, notify, onClose }) {
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await tell(`/api/v1/gaps/${gap.id}/acknowledge`, { note: new FormData(event.target).get("note") });
      notify(`gap ${gap.id} is acknowledged`);
      onClose(true);
    } catch (refused) {
      setProblem(refused);
    }
  };
  return html`<${Dialog} title="Acknowledge gap ${gap.id}" onClose=${() => onClose(false)}>
    <form onSubmit=${submit}>
      <p>From <${Time} at=${gap.opened_at} /> to <${Time} at=${gap.closed_at} />, ${gap.subscription}: ${gap.reason}.</p>
      <label class="wide">What was done about it?<input name="note" type="text" required maxlength="500" autocomplete="off" /></label>
      <p class="note">The note stays with the gap, and the status speaks of it no more.</p>
      <${Problem} problem=${problem} />
      <div class="buttons"><button type="submit" class="main">Acknowledge</button>
        <button type="button" class="quiet" onClick=${() => onClose(false)}>Cancel</button></div>
    </form>
  <//>`;
}

function Gaps({ live, operator, notify }) {
  const openGaps = live.status.open_gaps.map(({ id }) => id).join();
  const { data, problem, again } = useAnswer("/api/v1/gaps?limit=500");
  useEffect(() => again(), [openGaps]);
  const [chosen, setChosen] = useState(null);
  const columns = [{ title: "Gap", class: "num" }, { title: "Subscription" }, { title: "From" }, { title: "To" }, { title: "Length", class: "num" }, { title: "Why", class: "grow" }, { title: "Last event before" }, { title: "Seen to", label: "Seen to" }];
  const cells = (gap) => [
    gap.id, gap.subscription,
    html`<${Time} at=${gap.opened_at} />`,
    gap.closed_at ? html`<${Time} at=${gap.closed_at} />` : html`<span class="state dead"><span aria-hidden="true">■</span> still open</span>`,
    span((gap.closed_at ? new Date(gap.closed_at) : bridgeClock.now()) - new Date(gap.opened_at)),
    gap.reason,
    html`<${Time} at=${gap.last_event_at} />`,
    gap.acknowledged
      ? html`${gap.acknowledged.note} <span class="none">${gap.acknowledged.by}, <${Time} at=${gap.acknowledged.at} /></span>`
      : operator && gap.closed_at ? html`<button type="button" class="small" aria-label="Acknowledge gap ${gap.id}" onClick=${() => setChosen(gap)}>Acknowledge…</button>` : null,
  ];
  return html`<${View} title="Gaps" note="In each of these times no socket was live, and Zoom keeps nothing for later: what happened then, ask of Zoom's own reports.">
    <${Problem} problem=${problem} again=${again} />
    ${data && (data.gaps.length === 0
      ? html`<${Empty} title="No gap is on record.">A socket was live all the time since this spool was made.<//>`
      : html`<${Table} label="Gaps" columns=${columns} rows=${data.gaps} rowKey=${({ id }) => id} cells=${cells} />`)}
    ${chosen && html`<${Acknowledge} gap=${chosen} notify=${notify} onClose=${(done) => { setChosen(null); if (done) again(); }} />`}
  <//>`;
}

function Audit({ choice }) {
  const { data, problem, again } = useAnswer(query("/api/v1/audit", { before: choice.before, limit: 100 }));
  const columns = [{ title: "When" }, { title: "Who" }, { title: "What" }, { title: "Of what", class: "grow" }];
  const cells = ({ at, who, action, detail }) => [html`<${Time} at=${at} />`, who, action, detail];
  return html`<${View} title="Audit" note="What operators changed, by the API, this console or the command line.">
    <${Problem} problem=${problem} again=${again} />
    ${data && (data.audit.length === 0
      ? html`<${Empty} title="Nothing was changed yet.">A pause, a resume, a replay, an acknowledged gap: each leaves a row here.<//>`
      : html`<${Table} label="Audit" columns=${columns} rows=${data.audit} rowKey=${({ id }) => id} cells=${cells} />`)}
    <nav class="pages" aria-label="Pages">
      ${choice.before && html`<a class="button" href="#/audit">Newest</a>`}
      ${data?.next && html`<a class="button" href=${query("#/audit", { before: data.next })}>Older</a>`}
    </nav>
  <//>`;
}
