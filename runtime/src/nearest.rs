//! What a misspelt word was meant to be.

/// The candidate with the fewest changes of a letter, if it takes at most `limit` of them.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Option<&'a str> {
    let measured = candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate));
    let (distance, candidate) = measured.min_by_key(|(distance, _)| *distance)?;
    (distance <= limit).then_some(candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_is_found_within_the_limit() {
        let words = ["timeout", "cancelled", "poison"];
        let check = |word: &str, limit: usize, expected: Option<&str>| {
            assert_eq!(nearest(word, words, limit), expected, "{word}");
        };
        check("timeout", 0, Some("timeout"));
        check("tiemout", 2, Some("timeout"));
        check("tiemout", 1, None);
        check("canceled", 1, Some("cancelled"));
        check("", 5, None);
        assert_eq!(nearest("x", [], 9), None);
    }
}
