use proptest::prelude::*;

use super::*;

#[track_caller]
fn becomes(body: &str, canonical: &str) {
    match Form::of(body.as_bytes()) {
        Form::Canonical(bytes) => assert_eq!(String::from_utf8(bytes).expect("text"), canonical, "from {body}"),
        Form::Fixed => panic!("{body} is no fixed point"),
        Form::Unsafe(why) => panic!("{body}: {why}"),
    }
    stays(canonical);
}

#[track_caller]
fn stays(body: &str) {
    assert_eq!(Form::of(body.as_bytes()), Form::Fixed, "{body}");
}

#[track_caller]
fn is_unsafe(body: impl AsRef<[u8]>, why: Unsafe) {
    assert_eq!(Form::of(body.as_ref()), Form::Unsafe(why), "{}", String::from_utf8_lossy(body.as_ref()));
}

#[test]
fn numbers_are_written_with_their_shortest_digits() {
    for (given, written) in [
        ("5.0", "5"),
        ("1e3", "1000"),
        ("1E+2", "100"),
        ("-0", "0"),
        ("-0.0e7", "0"),
        ("0e99999999999999999999", "0"),
        ("-1.50", "-1.5"),
        ("1E21", "1e+21"),
        ("1000000000000000000000", "1e+21"),
        ("1e20", "100000000000000000000"),
        ("123456789e13", "1.23456789e+21"),
        ("123456789e12", "123456789000000000000"),
        ("0.000001e0", "0.000001"),
        ("0.0000001", "1e-7"),
        ("12.5e-8", "1.25e-7"),
        ("1.25e-6", "0.00000125"),
        ("5E-324", "5e-324"),
        ("1.7976931348623157E308", "1.7976931348623157e+308"),
        // The double is …498.25, as near to …498.3, and …498.2 is even.
        ("1.9667082244154982e15", "1966708224415498.2"),
        ("9007199254740992.0", "9007199254740992"),
        ("-9007199254740994e0", "-9007199254740994"),
    ] {
        becomes(given, written);
    }
}

#[test]
fn numbers_that_javascript_writes_stay() {
    for number in ["0", "-1", "86084701483", "1785369357392", "0.1", "-2.5", "1e+21", "1.5e-7", "12345678901234567000"]
    {
        stays(number);
    }
}

#[test]
fn numbers_that_would_change_are_unsafe() {
    for number in [
        "9007199254740993",
        "-9007199254740993",
        "12345678901234567890",
        "1e400",
        "-1e99999999999999999999",
        "1e-400",
        "1e-99999999999999999999",
        "0.1000000000000000055511151231257827",
        "0.10000000000000001",
        "123456789012345678e-17",
        "1966708224415498.25",
        "1966708224415498.3",
    ] {
        is_unsafe(number, Unsafe::Number);
        is_unsafe(format!(r#"{{"a":[{number}]}}"#), Unsafe::Number);
    }
    is_unsafe(r#"{"a":9007199254740993,"a":1}"#, Unsafe::Number);
}

#[test]
fn every_character_has_one_spelling() {
    for (given, written) in [
        (r#""\u00e9\u9031""#, r#""é週""#),
        (r#""\/""#, r#""/""#),
        (r#""\u0008\u0009\u000a\u000C\u000d""#, r#""\b\t\n\f\r""#),
        (r#""\u001F\u0000""#, r#""\u001f\u0000""#),
        (r#""\u0022\u005c\u0041""#, r#""\"\\A""#),
        (r#""\uD83D\uDE80""#, r#""🚀""#),
        (r#""\u2028\u007f""#, "\"\u{2028}\u{7f}\""),
        (r#""\uD800""#, r#""\ud800""#),
        (r#""\uDE80\uD83D""#, r#""\ude80\ud83d""#),
        (r#""\uD83D\uD83D\uDE80x""#, r#""\ud83d🚀x""#),
        (r#""\uD83D\n""#, r#""\ud83d\n""#),
    ] {
        becomes(given, written);
    }
    for text in
        [r#""\b\f\n\r\t\"\\""#, r#""\u001f\u000b""#, r#""\ud800""#, "\"\u{2028}\u{2029}\u{7f}\u{feff}é🚀\"", "\"\""]
    {
        stays(text);
    }
}

#[test]
fn spaces_go() {
    becomes(" {\t\"a\" :\r\n[ 1 , true ] , \"b c\" : { } , \"d\":[ ] } ", r#"{"a":[1,true],"b c":{},"d":[]}"#);
    becomes("null\n", "null");
}

#[test]
fn array_indices_come_first() {
    becomes(r#"{"b":1,"10":2,"9":3,"a":4}"#, r#"{"9":3,"10":2,"b":1,"a":4}"#);
    becomes(r#"{"a":1,"\u0030":2}"#, r#"{"0":2,"a":1}"#);
    becomes(r#"{"a":1,"4294967294":2}"#, r#"{"4294967294":2,"a":1}"#);
    becomes(r#"{"x":{"b":1,"2":{"1":0,"0":0}}}"#, r#"{"x":{"2":{"0":0,"1":0},"b":1}}"#);
    for object in [
        r#"{"a":1,"4294967295":2}"#,
        r#"{"a":1,"99999999999":2}"#,
        r#"{"a":1,"01":2,"-0":3,"1.0":4,"":5,"+1":6}"#,
        r#"{"0":1,"1":2,"20":3,"a":4}"#,
    ] {
        stays(object);
    }
}

#[test]
fn last_of_equal_keys_wins_in_the_place_of_the_first() {
    becomes(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#);
    becomes(r#"{"é":1,"b":2,"\u00e9":{"x":[]}}"#, r#"{"é":{"x":[]},"b":2}"#);
    becomes(r#"{"b":0,"1":1,"0":2,"1":3,"b":4}"#, r#"{"0":2,"1":3,"b":4}"#);
    becomes(r#"{"":1,"":2}"#, r#"{"":2}"#);
    becomes(r#"{"__proto__":1,"a":2,"__proto__":3}"#, r#"{"__proto__":3,"a":2}"#);
    stays(r#"{"__proto__":{"a":1},"constructor":null,"":0}"#);
    stays(r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#);
}

#[test]
fn repeats_are_found_among_very_many_keys() {
    let members: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let object = format!("{{{}}}", members.join(","));
    stays(&object);
    becomes(&object.replace("\"k99999\":", "\"k0\":"), &format!("{{\"k0\":99999,{}}}", members[1..99_999].join(",")));
}

#[test]
fn what_is_not_json_is_unsafe() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1]",
        "[1}",
        "1 1",
        "{}{}",
        "]",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "0x10",
        "NaN",
        "Infinity",
        "nul",
        "tru e",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\",
        "\"\t\"",
        "\"\n\"",
        "\u{feff}{}",
        "\u{a0}1",
        "/**/1",
    ] {
        is_unsafe(text, Unsafe::NotJson);
    }
    is_unsafe(b"\"\xff\"", Unsafe::NotJson);
    is_unsafe(b"\"\xed\xa0\x80\"", Unsafe::NotJson);
}

#[test]
fn depth_is_bounded_and_needs_no_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    stays(&nested(DEEPEST));
    is_unsafe(nested(DEEPEST + 1), Unsafe::TooDeep);
    is_unsafe("{\"a\":".repeat(2_000_000), Unsafe::TooDeep);
}

#[test]
fn debug_shows_no_payload() {
    let shown = format!("{:?}", Form::of(b"\"canary\" "));
    assert_eq!(shown, "Canonical(8 bytes)");
}

proptest! {
    /// Without JavaScript to ask: what is written reads back as the same, and is a fixed point.
    #[test]
    fn canonical_form_is_a_fixed_point(body in "[\\[\\]{}\",:0-9eE.+\\-\\\\u a-d]{0,40}|\\PC{0,20}") {
        if let Form::Canonical(bytes) = Form::of(body.as_bytes()) {
            prop_assert_eq!(Form::of(&bytes), Form::Fixed);
        }
    }

    #[test]
    fn plain_run_ends_where_a_byte_by_byte_search_ends(bytes: Vec<u8>) {
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
        prop_assert_eq!(text::plain(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
    }
}
