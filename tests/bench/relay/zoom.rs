//! Plays Zoom with as little work for each event as can be: frames are copies of one, with a number and a time.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Bytes of a body: the design size, a little above Zoom's median.
const BODY: usize = 1500;
/// Frames in one write when nothing sets the pace.
const BURST: usize = 64;
/// How long the bridge has to settle down before something is measured.
const SETTLING: Duration = Duration::from_millis(300);

/// Says what is sent.
#[derive(Args)]
pub(crate) struct Play {
    /// How many events are counted.
    count: u64,
    /// How many of them a second; 0 sends as fast as they are taken.
    rate: u64,
    /// How many the spool holds already: their numbers are taken.
    stored: u64,
    /// How many to send before those that are counted, as fast as they are taken.
    warm: u64,
    /// How many types they are of.
    kinds: u64,
}

/// Serves one token and one socket, and ends when the client does. Prints its port, the time when it has accepted the
/// socket, and that the bridge had time to settle down; sends at a line what comes before, and at another the rest.
pub(crate) fn play(play: &Play) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("bound").port());
    for stream in listener.incoming() {
        let mut stream = stream.expect("a client");
        stream.set_nodelay(true).expect("tcp");
        let (path, key) = request(&stream);
        if path.starts_with("/ws") {
            accept(&mut stream, &key);
            println!("{}", nanos());
            std::thread::sleep(SETTLING);
            println!("settled");
            if told_to_go_on() {
                burst(&mut stream, play, play.stored..play.stored + play.warm);
            }
            if told_to_go_on() {
                std::thread::sleep(SETTLING);
                println!("{}", nanos());
                send(&mut stream, play);
                answer_heartbeats(&mut stream);
            }
            return;
        }
        let token = r#"{"access_token":"benchmark","token_type":"bearer","expires_in":3600}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{token}", token.len()).expect("written");
    }
}

fn told_to_go_on() -> bool {
    std::io::stdin().read_line(&mut String::new()).is_ok_and(|read| read > 0)
}

/// Returns the type of an event.
pub(crate) fn kind(number: u64, kinds: u64) -> String {
    match kinds {
        1 => "meeting.participant_joined".to_owned(),
        _ => format!("meeting.benchmark_{:02}", number % kinds),
    }
}

/// Reads a request, body included, and returns its path and its WebSocket key.
fn request(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut key, mut length) = (String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "sec-websocket-key" => key = value.to_owned(),
            "content-length" => length = value.parse().expect("a length"),
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    (path, key)
}

fn accept(stream: &mut TcpStream, key: &str) {
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade";
    write!(stream, "{head}\r\nsec-websocket-accept: {}\r\n\r\n", derive_accept_key(key.as_bytes())).expect("written");
    let first = br#"{"module":"build_connection","success":true,"content":"","header":{}}"#;
    let mut frame = Vec::new();
    put(&mut frame, first);
    stream.write_all(&frame).expect("written");
}

/// Sends the events that are counted: as many as are taken, or at a pace.
fn send(stream: &mut TcpStream, play: &Play) {
    let first = play.stored + play.warm;
    let numbers = first..first + play.count;
    if play.rate == 0 {
        return burst(stream, play, numbers);
    }
    let template = template();
    let began = Instant::now();
    let mut buffer = Vec::with_capacity(BODY + 200);
    for number in numbers {
        let due = began + Duration::from_nanos((number - first) * 1_000_000_000 / play.rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        buffer.clear();
        event(&mut buffer, &template, number, play.kinds);
        stream.write_all(&buffer).expect("the bridge reads");
    }
}

fn burst(stream: &mut TcpStream, play: &Play, numbers: Range<u64>) {
    let template = template();
    let mut buffer = Vec::with_capacity(BURST * (BODY + 200));
    for number in numbers.clone() {
        event(&mut buffer, &template, number, play.kinds);
        if buffer.len() >= BURST * BODY || number + 1 == numbers.end {
            stream.write_all(&buffer).expect("the bridge reads");
            buffer.clear();
        }
    }
}

/// Writes the frame of an event that is sent now.
fn event(buffer: &mut Vec<u8>, template: &str, number: u64, kinds: u64) {
    let text = template.replace("NNNNNNNNNN", &format!("{number:010}")).replace("KKKKK", &kind(number, kinds));
    put(buffer, text.replace("TTTTTTTTTTTTTTTTTTT", &format!("{:019}", nanos())).as_bytes());
}

/// Makes the text of a frame with room for a number, a type and a time.
fn template() -> String {
    let body = r#"{\"event\":\"KKKKK\",\"payload\":{\"account_id\":\"AAAAAABBBBBBCCCCCC1234\",\"object\":{\"id\":\"NNNNNNNNNN\",\"sent\":\"TTTTTTTTTTTTTTTTTTT\",\"topic\":\"FILL\"}},\"event_ts\":1785369357392}"#;
    let escapes = body.matches('\\').count();
    let fill = "x".repeat(BODY - (body.len() - escapes - "FILL".len()) - (kind(0, 1).len() - "KKKKK".len()));
    format!(r#"{{"module":"message","content":"{}","header":{{}}}}"#, body.replace("FILL", &fill))
}

/// Writes one text frame as a server does, without a mask.
fn put(buffer: &mut Vec<u8>, text: &[u8]) {
    buffer.push(0x81);
    match text.len() {
        short @ 0..126 => buffer.push(short as u8),
        long => {
            buffer.push(126);
            buffer.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    buffer.extend_from_slice(text);
}

/// Answers whatever comes as a heartbeat, until the client has gone.
fn answer_heartbeats(stream: &mut TcpStream) {
    let mut reply = Vec::new();
    put(&mut reply, br#"{"module":"heartbeat","success":true,"content":"live","header":{}}"#);
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}

/// Tells the time in nanoseconds since 1970, which all processes of a machine share.
pub(crate) fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}
