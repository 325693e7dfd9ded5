//! ◆ The headers of a request as people paste them.

use crate::webhook::request::{SIGNATURE, TIMESTAMP};

/// Is a list of headers; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Reads lines of `name: value`: the head of a request, with or without its first line, or what `curl -v` shows.
    pub fn read(text: &str) -> Self {
        let line = |line: &str| {
            let line = line.trim().trim_start_matches(['>', '<']).trim_start();
            let (name, value) = line.split_once(':')?;
            let is_name =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            is_name.then(|| (name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Returns the value of `x-zm-signature`.
    pub fn signature(&self) -> Option<&str> {
        self.get(SIGNATURE)
    }

    /// Returns the value of `x-zm-request-timestamp`.
    pub fn timestamp(&self) -> Option<&str> {
        self.get(TIMESTAMP)
    }

    /// Returns the names of other headers that may be meant where one of the two is missing.
    pub fn lookalikes(&self) -> Vec<&str> {
        let alike = |name: &str| name.contains("signature") || name.contains("timestamp");
        self.others().map(|(name, _)| name).filter(|name| alike(name)).collect()
    }

    pub(super) fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        let others = self.0.iter().filter(|(name, _)| name != SIGNATURE && name != TIMESTAMP);
        others.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn get(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_of_a_request_is_read_in_every_usual_form() {
        for text in [
            "POST /webhook HTTP/1.1\r\nHost: crm:3000\r\nX-Zm-Signature: v0=ab\r\nX-Zm-Request-Timestamp:  17 \r\n\r\n",
            "x-zm-request-timestamp: 17\nx-zm-signature: v0=ab",
            "> X-ZM-SIGNATURE: v0=ab\n> x-zm-request-timestamp:17\n>\n",
        ] {
            let headers = Headers::read(text);
            assert_eq!((headers.signature(), headers.timestamp()), (Some("v0=ab"), Some("17")), "{text}");
        }
    }

    #[test]
    fn headers_that_may_be_meant_are_named() {
        let headers = Headers::read("x-signature: v0=ab\nx-forwarded-zm-request-timestamp: 17\naccept: */*\n");
        assert_eq!((headers.signature(), headers.timestamp()), (None, None));
        assert_eq!(headers.lookalikes(), ["x-signature", "x-forwarded-zm-request-timestamp"]);
    }
}
