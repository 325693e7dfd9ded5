//! Watches a bridge as its console does: what the page asks for when it opens, and then its stream.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// What the page asks for once.
const OPENING: [&str; 3] = ["/api/v1/whoami", "/api/v1/gaps?limit=200", "/api/v1/history"];

/// Watches until the bridge has gone. Prints a line when the first snapshot has come.
pub(crate) fn watch(port: u16) {
    for path in OPENING {
        assert!(get(port, path).expect("an answer").starts_with("HTTP/1.1 200"), "{path}");
    }
    let mut stream = ask(port, "/api/v1/stream").expect("a stream");
    let mut seen = false;
    while let Some(Ok(line)) = stream.by_ref().lines().next() {
        if !seen && line.starts_with("data: ") {
            println!("watching");
            seen = true;
        }
    }
}

/// Asks the admin port, and returns the whole answer.
///
/// # Errors
/// When it does not answer.
pub(crate) fn get(port: u16, path: &str) -> io::Result<String> {
    let mut answer = String::new();
    ask(port, path)?.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask(port: u16, path: &str) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")?;
    Ok(BufReader::new(stream))
}
