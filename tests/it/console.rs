//! The console in a real browser, before a real bridge.

use serde_json::{Value, json};

use crate::browser::{Browser, ENTER, ESCAPE, TAB, axe};
use crate::lab::{ADMIN_TOKEN, Bridge, Lab, VIEWER_TOKEN, body};
use crate::receiver::Answer;

/// A body that is markup from end to end, with a number that JavaScript cannot hold.
const HOSTILE: &str = r#"{"event":"meeting.chat_message_sent","payload":{"object":{"id":"h","n":1234567890123456789,"t":"<script>window.harmed=1</script><img src=x onerror='window.harmed=1'><b>bold</b>"}},"event_ts":1785369357392}"#;
/// Every view, with what it shows when it is there.
const VIEWS: [(&str, &str, &str); 7] = [
    ("overview", "#/", "What each part says"),
    ("events", "#/events", "newest first"),
    ("event", "#/events/1", "What handlers verify"),
    ("dead", "#/dead", "status 404"),
    ("destinations", "#/destinations", "Delivered in all"),
    ("gaps", "#/gaps", "Last event before"),
    ("audit", "#/audit", "pause"),
];

#[tokio::test]
async fn first_paint_is_one_request_below_a_hundred_kilobytes() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    open(&browser, &bridge, "#/").await;
    browser.go(&format!("http://{}/", bridge.admin)).await;
    browser.shows("What each part says").await;
    let seen = browser
        .js_async(
            "const [page] = performance.getEntriesByType('navigation');
             const painted = performance.getEntriesByName('first-contentful-paint')[0];
             const others = performance.getEntriesByType('resource').map(({ name, initiatorType }) => [name, initiatorType]);
             const cold = await fetch('/', { cache: 'reload' });
             await cold.arrayBuffer();
             const fetched = performance.getEntriesByName(location.origin + '/').at(-1);
             return { weight: fetched.transferSize, plain: page.decodedBodySize, painted: Boolean(painted), others };",
        )
        .await;
    let weight = seen["weight"].as_u64().expect("a size");
    assert!((10_000..100_000).contains(&weight), "{seen}");
    assert!(seen["plain"].as_u64().expect("a size") > weight, "it comes compressed: {seen}");
    assert_eq!(seen["painted"], true);
    let api = format!("http://{}/api/v1/", bridge.admin);
    for other in seen["others"].as_array().expect("a list") {
        let name = other[0].as_str().expect("a name");
        assert!(other[1] == "fetch" && name.starts_with(&api), "{other}: the page needs a file beside itself");
    }
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.contains("401")), "{complaints:#?}");
    bridge.stop().await;
}

#[tokio::test]
async fn token_is_asked_for_and_kept_in_the_tab_alone() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    browser.go(&format!("http://{}/", bridge.admin)).await;
    browser.write("input[name=token]", "wrong").await;
    browser.press(ENTER).await;
    browser.shows("this is not the token of the admin port").await;
    browser.js("document.querySelector('input[name=token]').value = ''").await;
    browser.write("input[name=token]", ADMIN_TOKEN).await;
    browser.press(ENTER).await;
    browser.shows("Nothing is being lost").await;
    browser.go("about:blank").await;
    browser.go(&format!("http://{}/", bridge.admin)).await;
    browser.shows("Nothing is being lost").await;
    let kept = browser.js("return [localStorage.length, document.cookie, location.href]").await;
    assert_eq!(kept, json!([0, "", format!("http://{}/", bridge.admin)]));
    click_button(&browser, "Forget the token").await;
    browser.shows("This port asks for a token").await;
    assert_eq!(browser.js("return sessionStorage.length").await, 0);
    bridge.stop().await;
}

#[tokio::test]
async fn console_that_is_left_again_and_again_keeps_no_connection_and_is_live_when_it_is_come_back_to() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    open(&browser, &bridge, "#/").await;
    // More than the connections that a browser opens to one address.
    for _ in 0..8 {
        browser.go("about:blank").await;
        browser.go(&format!("http://{}/", bridge.admin)).await;
        browser.shows("What each part says").await;
        browser.shows("You are an operator").await;
    }
    browser.js("history.go(-2)").await;
    browser.shows("What each part says").await;
    let seen = browser.js("return document.querySelector('.pulse.live time').textContent").await;
    browser.until(&format!("document.querySelector('.pulse.live time').textContent !== {seen}")).await;
    bridge.stop().await;
}

#[tokio::test]
async fn event_is_found_and_its_body_stays_text_whatever_is_in_it() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(422));
    lab.zoom.push(&body(1)).await;
    lab.zoom.push(HOSTILE).await;
    bridge.until("/api/v1/dead", |_, text| text.matches("status 422").count() == 2).await;
    open(&browser, &bridge, "#/events").await;
    browser.shows("2 events, newest first").await;
    browser.write("input[name=type]", "meeting.chat*").await;
    browser.press(ENTER).await;
    browser.shows("1 event, newest first").await;
    let address = browser.js("return location.hash").await;
    assert_eq!(address, "#/events?type=meeting.chat*");
    browser.click("tbody a.type").await;
    browser.shows("What handlers verify").await;
    assert_eq!(browser.js("return document.documentElement.textContent.includes('harmed')").await, false, "masked");
    click_button(&browser, "Show the body").await;
    browser.until("document.querySelector('pre.body')").await;
    let pretty = browser.js("return document.querySelector('pre.body').textContent").await;
    let pretty = pretty.as_str().expect("text");
    for part in ["\n    \"object\": {\n", "\"n\": 1234567890123456789,", "<script>window.harmed=1</script>"] {
        assert!(pretty.contains(part), "{part} is not in {pretty}");
    }
    click_button(&browser, "Raw").await;
    browser.until("document.querySelector('pre.raw')").await;
    assert_eq!(browser.js("return document.querySelector('pre.raw').textContent").await, HOSTILE);
    let harm =
        browser.js("return [window.harmed, document.querySelectorAll('#console script, #console img').length]").await;
    assert_eq!(harm, json!([null, 0]));
    browser.picture("event-hostile").await;
    bridge.stop().await;
}

/// Stands between the page and the bridge: of one text, the answers say twice that there is more, and then none comes.
const LONG_SEARCH: &str = "
    const real = window.fetch;
    window.fetch = (path, options) => {
      const asked = new URL(path, location).searchParams;
      if (asked.get('q') !== 'needle') return real(path, options);
      const next = { null: 500, 500: 400 }[asked.get('before')];
      if (next) return Promise.resolve(new Response(JSON.stringify({ events: [], next })));
      return new Promise((_, fail) => options.signal.addEventListener('abort', () => fail(new DOMException('', 'AbortError'))));
    };";

#[tokio::test]
async fn text_is_looked_for_part_by_part_until_the_page_is_full_or_the_reader_says_stop() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    for number in [1, 2, 86_084_701] {
        lab.zoom.push(&body(number)).await;
    }
    lab.handler("crm").has_taken(3).await;
    open(&browser, &bridge, "#/events").await;
    browser.shows("3 events, newest first").await;
    browser.js(LONG_SEARCH).await;
    browser.write("input[name=q]", "ÜBERBLICK 860 847").await;
    browser.press(ENTER).await;
    browser.shows("1 event, newest first").await;
    assert_eq!(browser.js("return document.querySelector('tbody a').textContent").await, "3");
    browser.js("location.hash = '#/events?q=needle'").await;
    browser.shows("Looking on: nothing so far, down to event 400").await;
    assert_eq!(browser.js("return document.querySelector('.empty')").await, Value::Null, "nobody knows yet");
    browser.picture("events-looking").await;
    browser.js("document.getElementById('title').focus()").await;
    tab_to(&browser, "document.activeElement.textContent === 'Stop'").await;
    browser.press(ENTER).await;
    browser.shows("Stopped at event 400: nothing found").await;
    browser.picture("events-stopped").await;
    let on = browser.js("return document.querySelector('nav.pages a').getAttribute('href')").await;
    assert_eq!(on, "#/events?q=needle&before=400");
    bridge.stop().await;
}

#[tokio::test]
async fn older_events_are_a_page_away_and_newer_ones_wait_to_be_shown() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    for number in 1..=60 {
        lab.zoom.push(&body(number)).await;
    }
    lab.handler("crm").has_taken(60).await;
    open(&browser, &bridge, "#/events").await;
    browser.shows("50 events, newest first").await;
    lab.zoom.push(&body(61)).await;
    browser.until("document.querySelector('.list-note button').textContent === '1 newer: show'").await;
    assert_eq!(
        browser.js("return document.querySelector('tbody a').textContent").await,
        "60",
        "nothing moves by itself"
    );
    click_button(&browser, "1 newer: show").await;
    browser.until("document.querySelector('tbody a').textContent === '61'").await;
    browser.js("[...document.querySelectorAll('nav.pages a')].find((a) => a.textContent === 'Older').click()").await;
    browser.shows("11 events, newest first").await;
    assert_eq!(browser.js("return document.querySelector('tbody a').textContent").await, "11");
    bridge.stop().await;
}

#[tokio::test]
async fn dead_letters_are_replayed_after_a_look_at_what_that_means() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(404));
    for number in 1..=3 {
        lab.zoom.push(&body(number)).await;
    }
    bridge.until("/api/v1/dead", |_, text| text.matches("status 404").count() == 3).await;
    open(&browser, &bridge, "#/dead").await;
    browser.click("input[aria-label='Choose all 3 of crm, status 404']").await;
    click_button(&browser, "Replay 3…").await;
    browser.shows("3 dead letters would be made due again").await;
    assert_eq!(lab.handler("crm").requests(), 3, "a dry run sends nothing");
    assert_eq!(bridge.get("/api/v1/dead").await.1.matches("status 404").count(), 3, "a dry run changes nothing");
    browser.picture("replay").await;
    lab.handler("crm").answer(Answer::Status(200));
    click_button(&browser, "Replay 3").await;
    lab.handler("crm").has_taken(3).await;
    browser.shows("3 dead letters made due again").await;
    browser.shows("Nothing was given up.").await;
    bridge.stop().await;
    lab.assert_nothing_forgotten();
}

#[tokio::test]
async fn pause_and_resume_hold_and_the_page_follows_without_being_loaded_again() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = lab.live_bridge().await;
    open(&browser, &bridge, "#/destinations").await;
    browser.js("window.stays = true").await;
    browser.click("button[aria-label='Pause crm']").await;
    browser.shows("crm is paused: events wait, the socket stays up").await;
    browser.click("button[aria-label='Resume crm']").await;
    browser.click("button[aria-label='Pause crm']").await;
    browser.until("document.querySelector('button[aria-label=\"Resume crm\"]')").await;
    lab.zoom.push(&body(1)).await;
    lab.handler("audit").has_taken(1).await;
    browser.shows("paused since").await;
    browser.shows("1 event waiting").await;
    assert_eq!(lab.handler("crm").requests(), 0);
    browser.click("button[aria-label='Resume crm']").await;
    lab.handler("crm").has_taken(1).await;
    browser.shows("taking events, last one").await;
    browser.click("button[aria-label='Probe crm']").await;
    browser.until("document.querySelector('.notice').textContent.includes('crm: ')").await;
    browser.until("document.querySelector('.destination.fine #destination-crm')").await;
    assert_eq!(browser.js("return window.stays").await, true);
    bridge.stop().await;
}

#[tokio::test]
async fn page_that_hears_nothing_says_so_and_looks_like_it() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    open(&browser, &bridge, "#/").await;
    lab.zoom.push(&body(1)).await;
    browser.until("document.querySelector('.key.received b').textContent === '1'").await;
    browser.until("document.querySelector('.key.delivered b').textContent === '1'").await;
    bridge.stop().await;
    browser.shows("Disconnected: what you see is").await;
    let looks = browser
        .js("return [document.querySelector('main').className, getComputedStyle(document.querySelector('main')).filter, document.title.includes('disconnected')]")
        .await;
    assert_eq!(looks, json!(["stale", "grayscale(1)", true]));
    browser.picture("disconnected").await;
}

#[tokio::test]
async fn keyboard_alone_reaches_everything_and_its_place_is_seen() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    browser.go(&format!("http://{}/", bridge.admin)).await;
    browser.shows("This port asks for a token").await;
    browser.press(&format!("{ADMIN_TOKEN}{ENTER}")).await;
    browser.shows("What each part says").await;
    browser.js("document.activeElement.blur()").await;
    browser.press(TAB).await;
    assert_eq!(browser.js("return document.activeElement.textContent").await, "Skip to the view");
    browser.press(ENTER).await;
    assert_eq!(browser.js("return document.activeElement.id").await, "title");
    browser.js("document.activeElement.blur(); window.getSelection().removeAllRanges()").await;
    tab_to(&browser, "document.activeElement.textContent.trim() === 'Destinations'").await;
    browser.press(ENTER).await;
    browser.shows("Delivered in all").await;
    browser.until("document.activeElement.id === 'title'").await;
    tab_to(&browser, "document.activeElement.ariaLabel === 'Pause crm'").await;
    browser.press(ENTER).await;
    bridge.until("/api/v1/status", |_, text| text.contains("\"paused\":true")).await;
    // A question holds the focus, gives it back, and Escape is an answer to it.
    lab.handler("crm").answer(Answer::Status(404));
    browser.until("document.activeElement.ariaLabel === 'Resume crm'").await;
    browser.press(ENTER).await;
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
    browser.js("location.hash = '#/dead'").await;
    browser.shows("status 404").await;
    tab_to(&browser, "document.activeElement.ariaLabel?.startsWith('Choose all')").await;
    browser.press(" ").await;
    browser.shows("Replay 1…").await;
    browser.js("document.getElementById('title').focus()").await;
    tab_to(&browser, "document.activeElement.textContent.trim() === 'Replay 1…'").await;
    browser.press(ENTER).await;
    browser.shows("1 dead letter would be made due again").await;
    browser.until("document.activeElement.closest('dialog')").await;
    browser.press(ESCAPE).await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(browser.js("return document.activeElement.textContent.trim()").await, "Replay 1…");
    bridge.stop().await;
}

#[tokio::test]
async fn viewer_is_shown_no_payload_and_no_lever() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.bridge_with_viewer_and_dead_letter().await;
    open_as(&browser, &bridge, "#/events/1", VIEWER_TOKEN).await;
    browser.shows("The body is hidden.").await;
    assert_eq!(browser.js("return document.querySelector('main').textContent.includes('Digest')").await, json!(false));
    for (_, hash, shown) in VIEWS.iter().filter(|(name, ..)| *name != "audit") {
        browser.js_with("location.hash = arguments[0]", json!([hash])).await;
        browser.shows(shown).await;
        let levers = browser
            .js("return [...document.querySelectorAll('main button, main input[type=checkbox]:not([name])')].map((e) => e.ariaLabel ?? e.textContent)
                   .filter((name) => /Pause|Resume|Probe|Replay|Acknowledge|Choose|Show/.test(name))")
            .await;
        assert_eq!(levers, json!([]), "{hash}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn gap_is_acknowledged_with_a_note() {
    let Some(browser) = Browser::start().await else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    bridge.until("/api/v1/gaps", |_, text| text.contains("\"closed_at\":\"")).await;
    open(&browser, &bridge, "#/gaps").await;
    browser.click("button[aria-label='Acknowledge gap 1']").await;
    browser.write("dialog input[name=note]", "asked Zoom's reports, <b>nothing</b> was missed").await;
    browser.press(ENTER).await;
    browser.shows("asked Zoom's reports, <b>nothing</b> was missed").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.until("!document.querySelector('.headline').textContent.includes('there was')").await;
    browser.js("location.hash = '#/audit'").await;
    browser.shows("What operators changed").await;
    browser.until("document.querySelectorAll('tbody tr').length === 1").await;
    bridge.stop().await;
}

#[tokio::test]
async fn every_view_fits_a_narrow_screen_and_has_no_serious_fault_in_either_scheme() {
    let (Some(browser), Some(axe)) = (Browser::start().await, axe()) else { return };
    let lab = rich_lab().await;
    let bridge = lab.live_bridge().await;
    fill(&lab, &bridge).await;
    let mut faults = Vec::new();
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")] {
        browser.look(width, scheme).await;
        browser.go("about:blank").await;
        browser.go(&format!("http://{}/", bridge.admin)).await;
        browser.shows("This port asks for a token").await;
        check(&browser, &axe, "token", width, scheme, &mut faults).await;
        browser.write("input[name=token]", ADMIN_TOKEN).await;
        browser.press(ENTER).await;
        browser.shows("What each part says").await;
        for (name, hash, shown) in VIEWS {
            browser.js_with("location.hash = arguments[0]", json!([hash])).await;
            browser.shows(shown).await;
            browser.js("document.querySelectorAll('details').forEach((details) => { details.open = true; })").await;
            browser.js("[...document.querySelectorAll('.masked button')].forEach((button) => button.click())").await;
            check(&browser, &axe, name, width, scheme, &mut faults).await;
        }
        browser.js("location.hash = '#/dead'").await;
        browser.click("input[aria-label^='Choose all']").await;
        browser.js("[...document.querySelectorAll('.actions button')].at(-1).click()").await;
        browser.shows("would be made due again").await;
        check(&browser, &axe, "dialog", width, scheme, &mut faults).await;
        browser.js("sessionStorage.clear()").await;
    }
    let dark = browser.js("return getComputedStyle(document.documentElement).backgroundColor").await;
    browser.look(1280, "light").await;
    let light = browser.js("return getComputedStyle(document.documentElement).backgroundColor").await;
    assert!(brightness(&dark) < 100 && brightness(&light) > 600, "{dark} {light}");
    assert!(faults.is_empty(), "{faults:#?}");
    bridge.stop().await;
}

/// Makes a lab in which something of everything has happened.
async fn rich_lab() -> Lab {
    let mut lab = Lab::new(&["crm", "billing-of-the-northern-region", "old"]).await;
    lab.destination_lines = "retry = [\"1h\"]".to_owned();
    lab
}

async fn fill(lab: &Lab, bridge: &Bridge) {
    lab.handler("crm").answer(Answer::Status(404));
    lab.handler("old").answer(Answer::Status(503));
    lab.zoom.push(HOSTILE).await;
    for number in 1..=5 {
        lab.zoom.push(&body(number)).await;
    }
    bridge.until("/api/v1/dead", |_, text| text.matches("status 404").count() == 6).await;
    assert_eq!(bridge.post("/api/v1/destinations/billing-of-the-northern-region/pause", &json!({})).await.0, 200);
    lab.handler("old").has_seen(6).await;
    lab.zoom.push(&body(6)).await;
}

/// Looks at the page as it is: with axe, at its width, and by a picture.
async fn check(browser: &Browser, axe: &str, name: &str, width: u32, scheme: &str, faults: &mut Vec<String>) {
    let found = browser.faults(axe).await;
    faults.extend(found.into_iter().map(|fault| format!("{name}, {width}, {scheme}: {fault}")));
    let widths = browser.js("return [document.documentElement.scrollWidth, innerWidth]").await;
    if widths[0].as_u64() > widths[1].as_u64() {
        faults.push(format!("{name}, {width}, {scheme}: wider than the screen: {widths}"));
    }
    browser.picture(&format!("{name}-{width}-{scheme}")).await;
}

/// Opens a view as an operator.
async fn open(browser: &Browser, bridge: &Bridge, hash: &str) {
    open_as(browser, bridge, hash, ADMIN_TOKEN).await;
}

async fn open_as(browser: &Browser, bridge: &Bridge, hash: &str, token: &str) {
    browser.go(&format!("http://{}/{hash}", bridge.admin)).await;
    browser.write("input[name=token]", token).await;
    browser.press(ENTER).await;
    browser.until("document.querySelector('.pulse.live')").await;
}

/// Clicks the button that says this.
async fn click_button(browser: &Browser, text: &str) {
    let find =
        format!("[...document.querySelectorAll('button')].find((e) => e.textContent.trim() === {})", json!(text));
    browser.until(&format!("{find} && !{find}.disabled")).await;
    browser.js(&format!("{find}.setAttribute('data-wanted', '')")).await;
    browser.click("[data-wanted]").await;
    browser.js("document.querySelector('[data-wanted]')?.removeAttribute('data-wanted')").await;
}

/// Presses Tab until the focus is there; on each step it must be seen.
async fn tab_to(browser: &Browser, there: &str) {
    for _ in 0..60 {
        browser.press(TAB).await;
        let seen = browser
            .js("const e = document.activeElement;
                 return e === document.body || (getComputedStyle(e).outlineStyle !== 'none' && e.getBoundingClientRect().width > 0)")
            .await;
        let at = browser.js("return document.activeElement.outerHTML.slice(0, 200)").await;
        assert_eq!(seen, true, "the focus is not seen on {at}");
        if browser.js(&format!("return Boolean({there})")).await == json!(true) {
            return;
        }
    }
    panic!("not reached: {there}");
}

fn brightness(colour: &Value) -> u32 {
    let text = colour.as_str().expect("a colour");
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    numbers.take(3).sum()
}
