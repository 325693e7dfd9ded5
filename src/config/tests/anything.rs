//! Whatever a file says, reading it ends in a configuration or in problems.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_text_makes_loading_panic(text: String) {
        let _ = load_file(&text);
    }

    /// Lines of the fixtures in a wild order reach further into the rules than noise does.
    #[test]
    fn no_medley_of_lines_makes_loading_panic(picks in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8), 0..24)) {
        let files = [fixtures("valid"), fixtures("invalid")].concat();
        let lines: Vec<&str> = files.iter().flat_map(|(_, text)| text.lines()).collect();
        let mut medley = String::new();
        for (pick, change) in picks {
            let line = pick.get(&lines);
            medley.push_str(match change {
                0 => line.get(..line.len() / 2).unwrap_or(line),
                _ => line,
            });
            medley.push('\n');
        }
        let seen = match load_file(&medley) {
            Ok(loaded) => format!("{loaded:?}{}", show(&loaded.config)),
            Err(problems) => problems.to_string(),
        };
        prop_assert!(!seen.is_empty());
    }

    #[test]
    fn no_environment_file_makes_reading_panic(text in "([A-Z]{1,3}=['\"$\\\\{}a-z #]{0,6}\n?|\\PC{0,8}\n){0,8}") {
        let _ = Environment::default().add_file(&text);
    }
}
