// The frame: where one is, whether it is live, and who may do what.

const PLACES = [
  ["", "Overview"], ["events", "Events"], ["dead", "Dead letters"], ["destinations", "Destinations"], ["gaps", "Gaps"], ["audit", "Audit"],
];

/** Why nothing may have come at all: browsers allow few connections to one address. */
const UNHEARD = "no answer yet: the bridge is busy, or other tabs of this browser have every connection to it that the browser allows";

/** Reads the address: `#/events/7` or `#/events?state=dead`. */
function place() {
  const [path, parameters] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  return { name, id, choice: Object.fromEntries([...new URLSearchParams(parameters)].filter(([, value]) => value !== "")) };
}

function usePlace() {
  const [here, setHere] = useState(place);
  useEffect(() => {
    const move = () => setHere(place());
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  // Focus follows the reader to another view, and stays where it is at the first.
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) document.getElementById("title")?.focus({ preventScroll: true });
    if (!first.current) scrollTo(0, 0);
    first.current = false;
  }, [here.name, here.id]);
  return here;
}

/**
 * Returns the number of this visit, or 0 while nobody can see the page: one in the background gives its stream back, for
 * there are few. A page that is come back to is a visit of its own, for its stream was ended.
 */
function useVisit() {
  const visits = useRef(1);
  const [visit, setVisit] = useState(document.hidden ? 0 : 1);
  useEffect(() => {
    const look = () => setVisit(document.hidden ? 0 : visits.current);
    const hide = () => setVisit(0);
    const show = () => {
      visits.current += 1;
      look();
    };
    document.addEventListener("visibilitychange", look);
    // A page that is left may be kept by the browser, with its connections.
    addEventListener("pagehide", hide);
    addEventListener("pageshow", show);
    return () => {
      document.removeEventListener("visibilitychange", look);
      removeEventListener("pagehide", hide);
      removeEventListener("pageshow", show);
    };
  }, []);
  return visit;
}

/** Ends a stream when the page is left, at once: what a page does later it may never do, and its connection counts. */
function endWhenLeft(stop) {
  const end = () => stop.abort();
  addEventListener("pagehide", end);
  return () => removeEventListener("pagehide", end);
}

/** Follows the stream in a visit, unless that is 0: the last snapshot, the minutes, and since when nothing has been heard. */
function useLive(visit, session) {
  const [live, setLive] = useState(null);
  const [lost, setLost] = useState(null);
  const [minutes, setMinutes] = useState(new Map());
  const heard = useRef(Date.now());
  useEffect(() => {
    if (visit === 0) return undefined;
    const begun = Date.now();
    const stop = new AbortController();
    const stay = endWhenLeft(stop);
    const fill = () => ask("/api/v1/history", { signal: stop.signal })
      .then((stretch) => setMinutes((known) => new Map([...withMinutes(new Map(), stretch), ...known])), () => {});
    // What was missed is asked for again.
    let whole = false;
    const onSnapshot = (snapshot) => {
      heard.current = Date.now();
      bridgeClock.ahead = new Date(snapshot.status.at) - Date.now();
      setLive(snapshot);
      setLost(null);
      setMinutes((known) => withMinutes(known, snapshot.history));
      if (!whole) fill();
      whole = true;
    };
    const onLost = (reason) => {
      whole = false;
      setLost((lost) => lost ?? { since: heard.current, reason });
    };
    listen(stop.signal, onSnapshot, onLost);
    const watch = setInterval(() => {
      if (Date.now() - Math.max(heard.current, begun) > SILENCE) setLost((lost) => lost ?? { since: heard.current, reason: whole ? "the bridge says nothing" : UNHEARD });
    }, 1000);
    return () => {
      stay();
      stop.abort();
      clearInterval(watch);
    };
  }, [visit, session]);
  return { live, lost, minutes };
}

function TokenForm({ onShown }) {
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const shown = new FormData(event.target).get("token").trim();
    try {
      await ask("/api/v1/status", { shown });
      token.set(shown);
      onShown();
    } catch (refused) {
      setProblem(refused.status === 401 ? new Refused(401, "", "this is not the token of the admin port") : refused);
    }
  };
  return html`<main id="main" class="door"><form onSubmit=${submit}>
    <h1 id="title" tabindex="-1">zoomhook</h1>
    <p id="token-note">This port asks for a token: the one of <code>admin.token</code> in the configuration. It is kept in this tab alone, until the tab is closed.</p>
    <label class="wide">Token<input name="token" type="password" autocomplete="off" required autofocus aria-describedby="token-note" /></label>
    <${Problem} problem=${problem} />
    <div class="buttons"><button type="submit" class="main">Open</button></div>
  </form></main>`;
}

/** Parts the summary into the answer and what is behind it. */
function answer(summary) {
  const [, verdict, joint, rest] = summary.match(/^(.+?)(, but |: )(.*)$/s) ?? [null, summary, "", ""];
  return [verdict, joint === ", but " ? `But ${rest}` : rest];
}

function Headline({ live, lost }) {
  const { level, summary } = live.status;
  const shown = lost ? "unknown" : level;
  const [verdict, rest] = answer(summary);
  // The answer alone is spoken, and only when it changes: what is behind it counts seconds.
  const spoken = lost ? "Disconnected: what is shown is old." : verdict;
  useEffect(() => { document.title = `${LEVELS[shown].sign} ${lost ? "disconnected" : LEVELS[level].word} · zoomhook`; }, [shown]);
  return html`<div class="headline ${shown}">
    <p class="unseen" role="status" aria-live="polite">${spoken}</p>
    ${lost
      ? html`<div><${Level} level="unknown" /><div><strong>Disconnected: what you see is ${span(Date.now() - lost.since)} old</strong>
          <p>${lost.reason}; trying again. Whether anything is being lost cannot be seen here now: ask <code>zoomhook status</code> on the machine.</p></div></div>`
      : html`<div><${Level} level=${level} /><div><strong>${verdict}</strong> <p>${rest}</p></div></div>`}
  </div>`;
}

function Navigation({ here, live }) {
  const dead = live?.status.destinations.reduce((sum, { backlog }) => sum + (backlog?.dead ?? 0), 0) ?? 0;
  const marks = { dead, gaps: live?.status.open_gaps.length ?? 0 };
  return html`<nav aria-label="Views"><ul>
    ${PLACES.map(([name, title]) => html`<li><a href="#/${name}" aria-current=${here.name === name ? "page" : undefined}>
      ${title}${marks[name] > 0 ? html` <span class="mark">${number(marks[name])}<span class="unseen">${name === "gaps" ? " open" : " kept"}</span></span>` : null}
    </a></li>`)}
  </ul></nav>`;
}

function Shown({ here, live, minutes, operator, notify }) {
  const { name, id, choice } = here;
  if (name === "" && id === undefined) return html`<${Overview} live=${live} minutes=${minutes} />`;
  if (name === "events" && id) return html`<${EventView} key=${id} id=${id} operator=${operator} notify=${notify} />`;
  if (name === "events") return html`<${Events} choice=${choice} live=${live} operator=${operator} />`;
  if (name === "dead") return html`<${Dead} choice=${choice} live=${live} operator=${operator} notify=${notify} />`;
  if (name === "destinations") return html`<${Destinations} live=${live} minutes=${minutes} operator=${operator} notify=${notify} />`;
  if (name === "gaps") return html`<${Gaps} live=${live} operator=${operator} notify=${notify} />`;
  if (name === "audit") return html`<${Audit} choice=${choice} />`;
  return html`<${View} title="No such view"><${Empty} title="Nothing is here.">Choose a view above.<//><//>`;
}

function Console() {
  const [session, setSession] = useState(0);
  const [locked, setLocked] = useState(false);
  const [notice, setNotice] = useState("");
  const here = usePlace();
  const visit = useVisit();
  const { live, lost, minutes } = useLive(locked ? 0 : visit, session);
  const me = useAnswer(locked ? null : "/api/v1/whoami", session);
  const operator = me.data?.role === "operator";
  token.wanted = () => { token.forget(); setLocked(true); };
  // A notice goes after a while; the views say the same in their own words.
  useEffect(() => {
    const timer = setTimeout(() => setNotice(""), 6000);
    return () => clearTimeout(timer);
  }, [notice]);
  if (locked) return html`<${TokenForm} onShown=${() => { setLocked(false); setSession(session + 1); }} />`;
  const skip = (event) => { event.preventDefault(); document.getElementById("title")?.focus(); };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the view</a>
    <header class="top">
      <span class="brand">zoomhook</span>
      <${Navigation} here=${here} live=${live} />
      <span class="pulse ${lost ? "lost" : live ? "live" : ""}">${lost ? "disconnected" : live ? html`live <time>${CLOCK.format(new Date(live.status.at))}</time>` : "connecting…"}</span>
    </header>
    ${live && html`<${Headline} live=${live} lost=${lost} />`}
    ${!live && lost && html`<div class="headline unknown" role="alert"><div><${Level} level="unknown" /><div><strong>Not connected to the bridge</strong> <p>${lost.reason}; trying again.</p></div></div></div>`}
    <main id="main" class=${lost && "stale"}>
      ${live && html`<${Shown} here=${here} live=${live} minutes=${minutes} operator=${operator} notify=${setNotice} />`}
    </main>
    <div class="notice" role="status" aria-live="polite">${notice && html`<p>${notice}</p>`}</div>
    <footer>
      <span>Times are in ${zone() === "UTC" ? "UTC" : `${zone()}; hover over one for UTC`}.</span>
      ${live && html`<span>zoomhook ${live.status.version}, up ${span(live.status.uptime_seconds * 1000)}</span>`}
      ${me.data && live && html`<span>You are ${operator ? "an operator" : "a viewer: payloads are hidden, and nothing can be changed"}.</span>`}
      ${token.get() && html`<button type="button" class="small quiet" onClick=${() => token.wanted()}>Forget the token</button>`}
    </footer>`;
}

const root = document.getElementById("console");
root.replaceChildren();
render(html`<${Console} />`, root);
