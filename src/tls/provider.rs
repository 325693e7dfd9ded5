//! The cryptography that TLS and signatures are made of: ring, or AWS-LC by a feature of the build.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Returns the provider that this build has.
#[cfg(feature = "fips")]
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::default_fips_provider())
}

/// Returns the provider that this build has.
#[cfg(all(feature = "aws-lc", not(feature = "fips")))]
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Returns the provider that this build has.
#[cfg(not(feature = "aws-lc"))]
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Tells whether the provider runs in FIPS mode; it is the one to know.
pub fn is_fips() -> bool {
    provider().fips()
}

/// Names the provider, and its mode.
pub fn name() -> &'static str {
    match (cfg!(feature = "aws-lc"), is_fips()) {
        (true, true) => "AWS-LC in FIPS mode",
        (true, false) => "AWS-LC",
        (false, _) => "ring",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_mode_is_claimed_by_a_build_for_it_and_by_no_other() {
        assert_eq!(is_fips(), cfg!(feature = "fips"));
        assert_eq!(name().contains("FIPS"), cfg!(feature = "fips"));
    }

    #[test]
    #[cfg(feature = "aws-lc")]
    fn signatures_and_seals_are_made_by_the_module_that_tls_has() {
        assert_eq!(aws_lc_rs::try_fips_mode().is_ok(), is_fips());
    }
}
