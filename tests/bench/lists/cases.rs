//! What is asked for.

const TYPES: [&str; 5] = ["", "type=meeting.started", "type=meeting.*", "type=no.such", "type=first.of.all"];
const DESTINATIONS: [&str; 4] = ["", "destination=crm", "destination=audit", "destination=bi"];
const STATES: [&str; 5] = ["", "state=waiting", "state=retrying", "state=delivered", "state=dead"];
const TIMES: [&str; 4] = ["", "since=1h", "until=70h", "until=8000h"];
const PARKED: [&str; 2] = ["", "parked=true"];
const TEXTS: [&str; 4] = ["", "q=sitzung", "q=nirgends", "q=grundstein%20legung"];
const BEFORE: [&str; 2] = ["", "before=500000"];

/// Returns the requests that are told one by one.
pub(crate) fn named() -> Vec<String> {
    let events = [
        "limit=100",
        "limit=1000",
        "limit=1000&before=1000",
        "type=meeting.started",
        "type=meeting.*",
        "type=no.such",
        "type=first.of.all",
        "type=first.*",
        "destination=crm",
        "destination=crm&state=dead",
        "destination=bi&state=retrying",
        "destination=audit&state=waiting",
        "destination=audit&type=no.such",
        "state=waiting",
        "state=retrying",
        "state=delivered",
        "state=dead",
        "state=delivered&type=first.of.all",
        "state=dead&type=no.such",
        "state=retrying&type=no.such",
        "since=1h",
        "until=70h",
        "until=8000h",
        "since=8000h&type=no.such",
        "parked=true",
        "parked=true&type=no.such",
        "q=sitzung",
        "q=sitzung%201999",
        "q=nirgends",
        "q=grundstein%20legung",
        "q=86084999999",
        "q=zahn",
        "q=zzq",
        "q=fehlt%20sitzung",
        "q=nirgends&destination=crm",
        "q=nirgends&state=delivered",
        "q=nirgends&state=dead",
        "q=nirgends&state=retrying",
        "q=nirgends&parked=true",
        "q=nirgends&type=meeting.*&since=60h",
        "q=sitzung&destination=bi&state=dead&type=meeting.*",
    ];
    let dead = [
        "limit=100",
        "limit=1000",
        "destination=crm",
        "destination=crm&cause=status%20404",
        "destination=audit",
        "type=meeting.*",
        "type=no.such",
        "type=first.of.all",
        "cause=no%20such",
        "until=8000h",
        "before=500000",
    ];
    let groups = ["", "type=meeting.*", "type=no.such", "destination=crm", "destination=bi&type=meeting.*", "since=1h"];
    let of = |path: &'static str| move |query: &&str| join(path, &[query]);
    let others = ["/api/v1/gaps?limit=1000", "/api/v1/audit?limit=1000", "/api/v1/audit?limit=1000&before=25000"];
    let mut requests: Vec<String> = events.iter().map(of("/api/v1/events")).collect();
    requests.extend(dead.iter().map(of("/api/v1/dead")));
    requests.extend(groups.iter().map(of("/api/v1/dead/groups")));
    requests.extend(others.map(str::to_owned));
    requests
}

/// Returns every combination of filters of events and of dead letters.
pub(crate) fn combinations() -> Vec<String> {
    let mut requests = Vec::new();
    for kind in TYPES {
        for destination in DESTINATIONS {
            for time in TIMES {
                for before in BEFORE {
                    requests.push(join("/api/v1/dead", &[kind, destination, time, before]));
                    for state in STATES {
                        for parked in PARKED {
                            for text in TEXTS {
                                let parts = [kind, destination, state, time, parked, text, before];
                                requests.push(join("/api/v1/events", &parts));
                            }
                        }
                    }
                }
                requests.push(join("/api/v1/dead/groups", &[kind, destination, time]));
            }
        }
    }
    requests
}

/// Returns the request for the part that follows.
pub(crate) fn after(request: &str, cursor: &str) -> String {
    let (path, query) = request.split_once('?').unwrap_or((request, ""));
    let name = if path.ends_with("groups") { "after" } else { "before" };
    let cursor = format!("{name}={}", cursor.replace(' ', "%20"));
    let kept = query.split('&').filter(|part| !part.starts_with("before="));
    join(path, &kept.chain([cursor.as_str()]).collect::<Vec<_>>())
}

fn join(path: &str, parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
}
