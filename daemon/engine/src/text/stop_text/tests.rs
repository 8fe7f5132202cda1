use proptest::prelude::*;

use super::*;

/// All that was released, the stop string found, and what was held back before each further piece.
fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>, Vec<String>) {
    let mut watch = StopText::new(Arc::new(StopStrings::new(stops)));
    let (mut text, mut stop, mut held) = (String::new(), None, Vec::new());
    for piece in pieces {
        let released = watch.push(piece);
        text.push_str(&released.text);
        stop = stop.or(released.stop);
        held.push(watch.held.clone());
    }
    text.push_str(&watch.finish());
    (text, stop, held)
}

/// The first end of any stop string in `text`, the longest string there, by trying them all.
fn naive(stops: &[&str], text: &str) -> (String, Option<usize>) {
    for end in text.char_indices().map(|(at, character)| at + character.len_utf8()) {
        let ending =
            stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty() && text[..end].ends_with(*stop));
        if let Some((index, stop)) = ending.rev().max_by_key(|(_, stop)| stop.len()) {
            return (text[..end - stop.len()].to_owned(), Some(index));
        }
    }
    (text.to_owned(), None)
}

#[test]
fn a_stop_string_spread_over_pieces_is_found_and_cut() {
    assert_eq!(
        run(&["\n\n", "END"], &["one E", "N", "D two"]),
        ("one ".into(), Some(1), vec!["E".into(), "EN".into(), "".into()])
    );
}

#[test]
fn only_what_could_still_be_a_stop_string_is_held_back() {
    let (text, stop, held) = run(&["</tool>"], &["a <", "/to", "o", "x", " b"]);
    assert_eq!((text.as_str(), stop), ("a </toox b", None));
    assert_eq!(held, ["<", "</to", "</too", "", ""]);
}

#[test]
fn the_longest_of_stop_strings_that_end_together_wins() {
    assert_eq!(run(&["b", "ab"], &["xab"]).1, Some(1));
    assert_eq!(run(&["abc", "b"], &["xabc"]), ("xa".into(), Some(1), vec!["".into()]));
}

#[test]
fn text_after_a_stop_string_is_swallowed() {
    assert_eq!(run(&["."], &["a.b", "c"]).0, "a");
}

#[test]
fn without_stop_strings_everything_passes() {
    assert_eq!(run(&[], &["a", "b"]), ("ab".into(), None, vec!["".into(), "".into()]));
    assert_eq!(run(&[""], &["a", "b"]), ("ab".into(), None, vec!["".into(), "".into()]));
}

#[test]
fn a_megabyte_of_stop_strings_is_searched_in_linear_time() {
    let many: Vec<String> = (0..40_000).map(|n| format!("{n:026}")).collect();
    let mut watch = StopText::new(Arc::new(StopStrings::new(&many)));
    let text = "0".repeat(200_000);
    assert_eq!(watch.push(&text).stop, Some(0));

    let long = ["a".repeat(1 << 20)];
    let mut watch = StopText::new(Arc::new(StopStrings::new(&long)));
    let pieces = (0..100_000).map(|_| watch.push("aab").text).collect::<String>();
    assert_eq!(pieces.len(), 300_000);
}

/// Few letters, so that stop strings overlap, one of them of three bytes.
fn letters(lengths: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(vec!['a', 'b', '字']), lengths).prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_naive_search_for_every_way_to_cut_the_text(
        stops in proptest::collection::vec(letters(0..6), 0..6),
        pieces in proptest::collection::vec(letters(0..5), 0..12),
    ) {
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (text, stop, held) = run(&stops, &pieces);
        prop_assert_eq!((text, stop), naive(&stops, &pieces.concat()));

        let mut sofar = String::new();
        for (piece, held) in pieces.iter().zip(&held) {
            sofar.push_str(piece);
            if naive(&stops, &sofar).1.is_some() {
                break;
            }
            let begins = |end: &&str| stops.iter().any(|stop| stop.starts_with(*end));
            let ends: Vec<&str> = sofar.char_indices().map(|(at, _)| &sofar[at..]).collect();
            prop_assert_eq!(held.as_str(), ends.into_iter().find(begins).unwrap_or(""));
        }
    }
}
