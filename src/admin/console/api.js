// Questions to the bridge, and the stream of what happens.

/** Milliseconds without a word after which what is shown may be wrong: the stream speaks every second. */
const SILENCE = 5000;
/** Pauses before the stream is tried again, in milliseconds; the last one repeats. */
const RETRIES = [500, 1000, 2000, 4000, 8000];

/** The bearer token, kept for this tab alone, and gone when the tab is closed. */
const token = {
  key: "zoomhook.token",
  get: () => sessionStorage.getItem(token.key),
  set: (value) => sessionStorage.setItem(token.key, value),
  forget: () => sessionStorage.removeItem(token.key),
  /** Called when the bridge asks for one. */
  wanted: () => {},
};

/** A refusal: what the bridge answered, or that it could not be asked. */
class Refused extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

async function request(method, path, { body, signal, shown } = {}) {
  const headers = {};
  const bearer = shown ?? token.get();
  if (bearer) headers.authorization = `Bearer ${bearer}`;
  if (method === "POST") headers["content-type"] = "application/json";
  let answer;
  try {
    const text = method === "POST" ? JSON.stringify(body ?? {}) : undefined;
    answer = await fetch(path, { method, headers, signal, body: text, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "the bridge does not answer");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401 && shown === undefined) token.wanted();
  throw new Refused(answer.status, problem.code ?? "unknown", problem.detail ?? `status ${answer.status}`);
}

const ask = async (path, options) => (await request("GET", path, options)).json();
const tell = async (path, body) => (await request("POST", path, { body })).json();

/** Writes the parameters of a query, leaving out what is empty. */
function query(path, parameters) {
  const kept = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  return kept.length === 0 ? path : `${path}?${new URLSearchParams(kept)}`;
}

/**
 * Listens until the signal is given, and connects again whenever the stream ends. `EventSource` cannot send a token,
 * so that the stream is read here.
 */
async function listen(signal, onSnapshot, onLost) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    let reason = "the stream ended";
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop);
    // A stream that says nothing is as bad as none: a proxy may hold it open for a bridge that has gone.
    let watchdog = setTimeout(stop, 2 * SILENCE);
    try {
      const answer = await request("GET", "/api/v1/stream", { signal: attempt.signal });
      for await (const data of messages(answer.body.getReader())) {
        clearTimeout(watchdog);
        watchdog = setTimeout(stop, 2 * SILENCE);
        failures = 0;
        onSnapshot(JSON.parse(data));
      }
    } catch (error) {
      reason = error instanceof Refused ? error.message : "the connection was cut";
      if (error.status === 401) return;
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", stop);
    }
    if (signal.aborted) return;
    onLost(reason);
    await new Promise((resume) => setTimeout(resume, RETRIES[Math.min(failures, RETRIES.length - 1)]));
  }
}

/** Yields the data of each message of a stream of server-sent events. */
async function* messages(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data: "));
      if (lines.length > 0) yield lines.map((line) => line.slice(6)).join("\n");
    }
  }
}

/**
 * Asks when an argument changes or `again` is called; keeps the last answer while the next one is on its way. What takes
 * more than one request is asked by a function of its own.
 */
function useAnswer(path, session, asking = (signal) => ask(path, { signal })) {
  const [state, setState] = useState({ loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (path === null) return undefined;
    const stop = new AbortController();
    setState((old) => ({ ...old, loading: true }));
    asking(stop.signal).then(
      (data) => setState({ data, path, loading: false }),
      (problem) => problem.name !== "AbortError" && setState((old) => ({ ...old, problem, path, loading: false })),
    );
    return () => stop.abort();
  }, [path, session, turn]);
  return { ...state, again: () => setTurn((turn) => turn + 1) };
}

/**
 * Looks for a page of a list. The bridge looks at so many rows for one answer: while the page is short and there is more to
 * look at, it is asked again. What was found so far is shown meanwhile, and `stop` ends the search where it is.
 */
function useSearch(path, wanted) {
  const [state, setState] = useState({ loading: true });
  const [turn, setTurn] = useState(0);
  const running = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    running.current = stop;
    setState((old) => ({ ...old, loading: true, parts: 0, stopped: false }));
    const [bare, search] = path.split("?");
    const parameters = Object.fromEntries(new URLSearchParams(search));
    const look = async () => {
      const events = [];
      let next = null;
      let parts = 0;
      do {
        const part = await ask(next === null ? path : query(bare, { ...parameters, before: next }), { signal: stop.signal });
        events.push(...part.events);
        next = part.next;
        parts += 1;
        const loading = next !== null && events.length < wanted;
        setState({ data: { events: events.slice(0, wanted), next: events.length > wanted ? events[wanted - 1].id : next }, path, loading, parts });
      } while (next !== null && events.length < wanted);
    };
    look().catch((problem) => setState((old) => (problem.name === "AbortError"
      ? (running.current === stop ? { ...old, loading: false, stopped: true } : old)
      : { ...old, problem, path, loading: false })));
    return () => { running.current = null; stop.abort(); };
  }, [path, turn]);
  return { ...state, stop: () => running.current?.abort(), again: () => setTurn((turn) => turn + 1) };
}
