use proptest::prelude::*;

use super::*;

#[test]
fn a_character_over_several_tokens_comes_out_whole() {
    let mut utf8 = Utf8Pieces::default();
    let pieces = [&b"a\xf0"[..], b"\x9f", b"\xa6", b"\x99b"].map(|bytes| utf8.push(bytes));
    assert_eq!(pieces, ["a", "", "", "🦙b"]);
    assert_eq!(utf8.finish(), "");
}

#[test]
fn an_unfinished_character_at_the_end_is_replaced() {
    let mut utf8 = Utf8Pieces::default();
    assert_eq!(utf8.push(b"a\xe5\xad"), "a");
    assert_eq!(utf8.finish(), "\u{fffd}");
}

#[test]
fn bytes_that_cannot_begin_a_character_are_not_held_back() {
    let mut utf8 = Utf8Pieces::default();
    assert_eq!(utf8.push(b"\xff\x80a"), "\u{fffd}\u{fffd}a");
    assert_eq!(utf8.push(b"\xf0\x9f"), "");
    assert_eq!(utf8.push(b"x"), "\u{fffd}x");
}

proptest! {
    #[test]
    fn pieces_add_up_to_the_lossy_text_of_all_bytes(
        pieces in proptest::collection::vec(
            proptest::collection::vec(prop::sample::select(b"a\xe5\xad\x97\xf0\x9f\xa6\x99\xff\xc3".to_vec()), 0..5),
            0..12,
        ),
    ) {
        let mut utf8 = Utf8Pieces::default();
        let mut text = String::new();
        for bytes in &pieces {
            text.push_str(&utf8.push(bytes));
            prop_assert!(utf8.held.len() <= 3);
        }
        text.push_str(&utf8.finish());
        prop_assert_eq!(text, String::from_utf8_lossy(&pieces.concat()).into_owned());
    }
}
