//! ◆ What to do about each cause for which deliveries fail.

/// Says where a cause comes from, and what to do about it.
pub(super) fn advice(cause: &str) -> (&'static str, &'static str) {
    match cause {
        "status 401" | "status 403" => (
            " from the handler",
            "Check that the handler's secret token is the secret_token configured here, the destination's auth, and the clocks",
        ),
        "status 404" | "status 410" => (" from the handler", "Check the path of the destination's url"),
        "status 413" => (" from the handler", "Raise the handler's limit on the size of a request"),
        "status 429" => {
            (" from the handler", "Lower the destination's rate or concurrency, or raise the handler's limit")
        }
        status if status.starts_with("status 3") => {
            (" from the handler", "Put the address that it redirects to into the destination's url")
        }
        status if status.starts_with("status ") => (" from the handler", "Check the handler's log"),
        "name does not resolve" => ("", "Check the host of the destination's url, and DNS"),
        "connection refused" => ("", "Start the handler, or check host and port of the destination's url"),
        "cannot connect" => ("", "Check the network and the firewall between here and the handler"),
        tls if tls.starts_with("tls failed") => ("", of_tls(tls)),
        "timeout" => ("", "Let the handler answer first and work later, or raise the destination's timeout"),
        "answer cut off" => ("", "Check the log of the handler, and of any proxy before it"),
        token if token.starts_with("no token from token_url: tls failed") => {
            ("", "Look at token_url as at a handler's url: its certificate, ca_file, client_cert and tls_min_version")
        }
        "no token from token_url" => ("", "Check token_url, client_id and client_secret in the destination's auth"),
        "url validation answered with a wrong encryptedToken" => {
            ("", "Check that the handler's secret token is the secret_token configured here")
        }
        probe if probe.starts_with("url validation answered ") => (
            "",
            "Let the handler answer endpoint.url_validation as it answers Zoom, or set the destination's probe to \"event\"",
        ),
        "this machine has no file descriptor left" => {
            ("", "Raise LimitNOFILE= of the service or ulimit -n, or lower the concurrency of destinations")
        }
        "this machine has no local port left" => (
            "",
            "Lower the destination's concurrency, let the handler keep connections, or widen net.ipv4.ip_local_port_range",
        ),
        "this machine has no memory left for sockets" => ("", "Look at its memory, and at net.ipv4.tcp_mem"),
        "request cannot be sent" => ("", "Check url and secret_token of the destination"),
        _ => ("", "Check the handler's log"),
    }
}

/// Says what to do about a handler with which there is no agreement on TLS.
fn of_tls(cause: &str) -> &'static str {
    match cause.strip_prefix("tls failed: ").unwrap_or_default() {
        "certificate of an unknown authority" => {
            "Name the file of that authority, or of the one of a proxy that looks into TLS on the way, in the destination's \
             ca_file; or let the handler send its whole chain"
        }
        "certificate expired" => "Have the handler's certificate renewed, or set the clock of this machine",
        "certificate not valid yet" => "Set the clock of this machine, or look at the handler's certificate",
        "certificate not for a server" => {
            "Give the handler a server's certificate: one with CA:FALSE, which openssl req -x509 makes with \
             -addext basicConstraints=CA:FALSE"
        }
        "certificate for another name" => {
            "Put a name that is in the handler's certificate into the destination's url, or have one issued for the name there"
        }
        "client certificate wanted or refused" => {
            "Put a certificate that the handler accepts into the destination's client_cert and client_key"
        }
        "no common version or cipher" => {
            "Let the handler speak TLS 1.2 or 1.3, look at the destination's tls_min_version, and at its client_cert if the \
             handler wants one"
        }
        "no tls spoken there" => "Check the port of the destination's url: what answers there speaks no TLS",
        "connection closed in the handshake" => "Check the handler's log, and what looks into TLS on the way to it",
        _ => "Check the handler's certificate, or name its authority in the destination's ca_file",
    }
}
