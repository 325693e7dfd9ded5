//! Who gives a command that changes a spool at rest, as the audit table tells it.

use std::env;

use rustix::process::getuid;

/// Returns `the command line of uid 1000`, or `the command line of uid 0 (sudo by uid 1000)`.
///
/// Who came by sudo is believed as sudo says it: whoever may write the file could write anything.
pub(super) fn who() -> String {
    said(getuid().as_raw(), env::var("SUDO_UID").ok().as_deref())
}

fn said(uid: u32, sudo: Option<&str>) -> String {
    match sudo.and_then(|uid| uid.parse::<u32>().ok()) {
        Some(by) if by != uid => format!("the command line of uid {uid} (sudo by uid {by})"),
        Some(_) | None => format!("the command line of uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn person_behind_sudo_is_named() {
        assert_eq!(said(1000, None), "the command line of uid 1000");
        assert_eq!(said(0, Some("1000")), "the command line of uid 0 (sudo by uid 1000)");
        assert_eq!(said(0, Some("0")), "the command line of uid 0");
        assert_eq!(said(0, Some("a, who=nobody")), "the command line of uid 0");
    }
}
