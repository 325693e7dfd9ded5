//! Documents that JavaScript may read in a way of its own; the same ones for the same seed.

const KEYS: [&str; 22] = [
    "event",
    "a",
    "b",
    "A",
    "é",
    "\\u00e9",
    "\\u0061",
    "",
    "__proto__",
    "constructor",
    "toJSON",
    "length",
    "0",
    "1",
    "10",
    "2",
    "01",
    "-1",
    "4294967294",
    "4294967295",
    "\\u0031",
    "\\ud800",
];

/// Those up to [`PLAIN`] JavaScript leaves alone.
const PIECES: [&str; 33] = [
    "a",
    "topic",
    "Überblick",
    "週次",
    "🚀",
    "\u{2028}",
    "\u{2029}",
    "\u{7f}",
    "\u{85}",
    "\u{feff}",
    "<br>",
    "'",
    "/",
    "\\/",
    "\\\\",
    "\\\"",
    "\\b",
    "\\f",
    "\\n",
    "\\r",
    "\\t",
    "\\u0008",
    "\\u000A",
    "\\u001f",
    "\\u001F",
    "\\u007f",
    "\\u2028",
    "\\u00E9",
    "\\ud83d\\ude80",
    "\\uD83D",
    "\\udE80",
    "\\u0022",
    "\\u0000",
];
const PLAIN: usize = 13;

const NUMBERS: [&str; 27] = [
    "1966708224415498.2",
    "1966708224415498.25",
    "1966708224415498.3",
    "0",
    "-0",
    "-0.0",
    "5.0",
    "1e3",
    "1E21",
    "1e21",
    "1e-7",
    "0.000001",
    "1e+5",
    "100e-2",
    "86084701483",
    "1785369357392",
    "9007199254740992",
    "9007199254740993",
    "12345678901234567890",
    "12345678901234567000",
    "1e400",
    "1e-400",
    "5e-324",
    "1.7976931348623157e308",
    "0.1",
    "0.10",
    "0.1000000000000000055511151231257827",
];

const WORDS: [&str; 3] = ["true", "false", "null"];
const SPACES: [&str; 5] = [" ", "\n", "\t", "\r\n", "  "];
const NOISE: &[u8] = b"{}[]\",:\\-+.eE019 tu/\n\x01\x80\xff\xc3";

/// Makes one document.
pub(super) struct Documents {
    dice: Dice,
    /// Whether spaces stand between tokens.
    spaced: bool,
    /// Whether only such things are chosen as JavaScript leaves alone.
    plain: bool,
    text: String,
}

impl Documents {
    pub(super) fn new(seed: u64) -> Self {
        let mut documents = Self { dice: Dice(seed), spaced: false, plain: false, text: String::new() };
        documents.spaced = documents.dice.one_in(4);
        documents.plain = !documents.spaced && documents.dice.one_in(2);
        documents
    }

    pub(super) fn document(mut self) -> Vec<u8> {
        let levels = 1 + self.dice.below(6);
        if self.dice.one_in(50) {
            self.nest(levels);
        } else {
            self.value(levels);
        }
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        if self.dice.one_in(8) {
            self.damage(&mut bytes);
        }
        bytes
    }

    /// Writes a value within many others.
    fn nest(&mut self, levels: u64) {
        let around = self.dice.below(1100);
        let (open, close) = if self.dice.one_in(2) { ("[", "]") } else { ("{\"a\":", "}") };
        (0..around).for_each(|_| self.text.push_str(open));
        self.value(levels);
        (0..around).for_each(|_| self.text.push_str(close));
    }

    fn value(&mut self, levels: u64) {
        self.space();
        match self.dice.below(if levels == 0 { 3 } else { 8 }) {
            0 => self.number(),
            1 => self.string(),
            2 => self.text.push_str(self.dice.pick(&WORDS)),
            3 | 4 => self.container(levels, '[', ']'),
            _ => self.container(levels, '{', '}'),
        }
        self.space();
    }

    fn container(&mut self, levels: u64, open: char, close: char) {
        self.text.push(open);
        // Now and then more keys than are compared each with each.
        let items = if self.dice.one_in(40) { self.dice.below(100) } else { self.dice.below(6) };
        for item in 0..items {
            if item > 0 {
                self.text.push(',');
            }
            if open == '{' {
                self.space();
                self.key(item);
                self.space();
                self.text.push(':');
            }
            self.value(if items > 8 { 0 } else { levels - 1 });
        }
        if items == 0 {
            self.space();
        }
        self.text.push(close);
    }

    fn key(&mut self, item: u64) {
        match self.dice.below(4) {
            0 if !self.plain => self.text.push_str(&format!("\"{}\"", self.dice.pick(&KEYS))),
            1 if !self.plain => self.text.push_str(&format!("\"{}\"", self.dice.below(12))),
            2 if !self.plain => self.string(),
            _ => self.text.push_str(&format!("\"key_{item}\"")),
        }
    }

    fn string(&mut self) {
        self.text.push('"');
        for _ in 0..self.dice.below(5) {
            match self.dice.below(if self.plain { 2 } else { 4 }) {
                0 => self.text.push_str(&"abcdefghijklmnop"[..self.dice.index(17)]),
                1 => self.text.push_str(self.dice.pick(if self.plain { &PIECES[..PLAIN] } else { &PIECES })),
                2 => {
                    let unit = self.dice.below(0x1_0000);
                    let lower = self.dice.one_in(2);
                    self.text.push_str(&if lower { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
                }
                _ => {
                    let code = u32::try_from(self.dice.below(0x11_0000)).expect("small");
                    // Control characters are left to the damage.
                    self.text.extend(char::from_u32(code).filter(|c| *c >= ' ' && !matches!(c, '"' | '\\')));
                }
            }
        }
        self.text.push('"');
    }

    fn number(&mut self) {
        let forms = if self.plain { 2 } else { 8 };
        let number = match self.dice.below(forms) {
            0 => self.dice.below(1000).to_string(),
            1 => format!("-{}", 1 + self.dice.below(1 << 40)),
            2 | 3 => self.dice.pick(&NUMBERS).to_owned(),
            // The shortest digits of any double, laid out in a way that is JavaScript's or not.
            4 => {
                let double = f64::from_bits(self.dice.next());
                if double.is_finite() { format!("{double:e}") } else { "0".to_owned() }
            }
            5 => format!("{}.{}e{}", self.dice.below(1000), self.dice.below(100_000), self.dice.between(-30, 30)),
            6 => {
                let scale = 10_f64.powi(self.dice.between(-9, 24));
                format!("{}", (self.dice.below(1 << 20) as f64) * scale)
            }
            _ => format!("{}", self.dice.next() >> self.dice.below(64)),
        };
        self.text.push_str(&number);
    }

    fn space(&mut self) {
        if self.spaced && self.dice.one_in(3) {
            self.text.push_str(self.dice.pick(&SPACES));
        }
    }

    /// Takes a byte away, puts one in, or changes one.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.dice.index(bytes.len());
        let noise = NOISE[self.dice.index(NOISE.len())];
        match self.dice.below(3) {
            0 => _ = bytes.remove(at),
            1 => bytes.insert(at, noise),
            _ => bytes[at] = noise,
        }
    }
}

/// Makes numbers out of a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn pick(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.index(texts.len())]
    }

    fn between(&mut self, least: i32, most: i32) -> i32 {
        let span = u64::try_from(most - least + 1).expect("least before most");
        least + i32::try_from(self.below(span)).expect("small")
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below the length")
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Returns the deepest nesting of a document.
pub(super) fn depth(document: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
