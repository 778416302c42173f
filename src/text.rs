//! Text that came from outside, made fit for a terminal; numbers for people.

/// Characters that hide or reorder text on a terminal (Unicode's bidirectional controls and zero-width characters).
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{ad}')
}

/// Text out of a file, fit for a terminal: control and invisible characters as escapes.
pub fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            c if c.is_control() || is_invisible(c) => c.escape_unicode().collect::<Vec<_>>(),
            c => vec![c],
        })
        .collect()
}

/// `generation 2` or `generations 1-3, 5`.
pub fn generations(numbers: &[u32]) -> String {
    let noun = if numbers.len() == 1 { "generation" } else { "generations" };
    format!("{noun} {}", ranges(numbers))
}

/// `1-3, 5`: numbers for people.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_moves_it() {
        assert_eq!(escaped("plain, with ümlaut"), "plain, with ümlaut");
        assert_eq!(escaped("\u{1b}[2J\u{202e}x\n"), "\\u{1b}[2J\\u{202e}x\\u{a}");
    }

    #[test]
    fn numbers_in_runs() {
        assert_eq!(ranges(&[1, 2, 3]), "1-3");
        assert_eq!(ranges(&[1, 3, 4, 9]), "1, 3-4, 9");
        assert_eq!(ranges(&[7]), "7");
        assert_eq!(ranges(&[u32::MAX - 1, u32::MAX]), "4294967294-4294967295");
        assert_eq!(ranges(&[]), "");
    }
}
