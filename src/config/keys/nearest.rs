//! Slips of the pen: which name was probably meant.

/// Units at the end of keys.
const UNITS: [&str; 2] = ["_mib", "_ppm"];

/// Of these names the one that was probably meant.
pub(in crate::config) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let meant = plain(written);
    // A third of the letters may be wrong; a plural or a swapped pair always.
    let limit = (meant.chars().count() / 3).clamp(1, 3);
    // A unit is easily left out, and then a shorter key may look nearer.
    let unitless =
        |name: &str| UNITS.iter().find_map(|unit| name.strip_suffix(unit)).is_some_and(|name| plain(name) == meant);
    names
        .map(|name| (if unitless(name) { 0 } else { distance(&meant, &plain(name)) }, name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to add, remove, change or swap with the next one to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // A word longer than any key is nobody's slip of the pen.
    if from.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0_usize; to.len() + 1]; from.len() + 1];
    for (index, row) in rows.iter_mut().enumerate() {
        row[0] = index;
    }
    rows[0] = (0..=to.len()).collect();
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let change = usize::from(from[i - 1] != to[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}
