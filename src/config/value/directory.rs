//! Directories that are replicated, and globs that choose among what is in them. Neither is looked up here: what a
//! variable stands for is known on each node, and to its environment only.

use super::{Complaint, Grammar, PATH_BYTES_MAX, is_variable};

/// Longest glob.
const GLOB_BYTES_MAX: usize = 1_024;

/// The variable a directory of `[rules]` begins with, and the path below what it stands for: `$RE_CONFDIR/a` and
/// `${RE_CONFDIR}/a` are `RE_CONFDIR` and `/a`. `None` for a directory that is written out.
pub fn split_variable(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('$')?;
    match rest.strip_prefix('{') {
        Some(braced) => braced.split_once('}'),
        None => Some(rest.split_at(rest.find('/').unwrap_or(rest.len()))),
    }
}

/// Where a directory begins (a variable, or the root) and the names on its way, so far as they can be known from the file.
fn way(text: &str) -> (Option<&str>, Vec<&str>) {
    let (variable, path) = split_variable(text).map_or((None, text), |(variable, path)| (Some(variable), path));
    (variable, path.split('/').filter(|part| !part.is_empty() && *part != ".").collect())
}

/// Whether one of the two is the other one or lies in it. Two variables, or a variable and a path, may always be apart.
pub(in crate::config) fn overlap(one: &str, other: &str) -> bool {
    let ((from, one), (other_from, other)) = (way(one), way(other));
    from == other_from && one.iter().zip(&other).all(|(one, other)| one == other)
}

pub(super) fn directory(text: &str) -> Result<(), Complaint> {
    let complaint = |hint: &str| Err(Complaint::value(Grammar::Directory.describe()).hint(hint));
    if text.len() > PATH_BYTES_MAX || text.contains('\0') {
        return complaint("a path has at most 4095 bytes, none of them zero");
    }
    let path = match split_variable(text) {
        Some((variable, _)) if !is_variable(variable) => {
            return complaint("a variable has letters, digits and `_`, and does not begin with a digit");
        }
        Some((_, path)) if !path.is_empty() && !path.starts_with('/') => {
            return complaint("after the variable comes nothing, or `/` and the rest of the path");
        }
        Some((_, path)) => path,
        None if text.starts_with("${") => return complaint("a { is opened and not closed"),
        None if !text.starts_with('/') => {
            return complaint("write the path from `/` on, or begin with a variable: \"$RE_CONFDIR\"");
        }
        None => text,
    };
    if path.contains('$') {
        return complaint("a variable stands at the beginning, and once");
    }
    if path.split('/').any(|part| part == "..") {
        return complaint("without `..`: write where it leads");
    }
    if way(text) == (None, Vec::new()) {
        return complaint("the root itself is more than anybody wants to have replicated");
    }
    Ok(())
}

/// What any reader of globs can read: `*`, `?`, `**`, `[...]`, `{a,b}`, and `\` before a character that is meant as itself.
pub(super) fn glob(text: &str) -> Result<(), Complaint> {
    let complaint = |hint: &str| Err(Complaint::value(Grammar::Glob.describe()).hint(hint));
    if text.is_empty() || text.len() > GLOB_BYTES_MAX || text.contains('\0') {
        return complaint("for example \"*.conf\"");
    }
    if text.starts_with('/') {
        return complaint("it begins in the directory: without the `/`");
    }
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return complaint("without `.` and `..`: no name in the directory is one of them");
    }
    if text.ends_with('/') || text.contains("//") {
        return complaint("it would match no file; what is below a directory is \"directory/**\"");
    }
    let mut chars = text.chars();
    let mut braces = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return complaint("the backslash at the end quotes nothing"),
            '[' if !class(&mut chars) => return complaint("a [ is not closed, or a range in it runs backwards"),
            ']' => return complaint("a ] is closed and not opened; to mean the character, write []]"),
            '{' => braces += 1,
            '}' if braces == 0 => {
                return complaint("a } is closed and not opened; to mean the character, write [}]");
            }
            '}' => braces -= 1,
            _ => {}
        }
    }
    if braces == 0 { Ok(()) } else { complaint("a { is opened and not closed; to mean the character, write [{]") }
}

/// The rest of a class, after its bracket; a `]` that comes first is meant as itself.
fn class(chars: &mut std::str::Chars<'_>) -> bool {
    let rest = chars.as_str();
    let members = rest.strip_prefix(['!', '^']).unwrap_or(rest);
    let Some(end) = members.char_indices().skip(1).find(|(_, c)| *c == ']').map(|(at, _)| at) else { return false };
    let (members, rest) = members.split_at(end);
    *chars = rest[1..].chars();
    let mut members = members.chars();
    while let Some(first) = members.next() {
        let mut after = members.clone();
        if let (Some('-'), Some(last)) = (after.next(), after.next()) {
            if last < first {
                return false;
            }
            members = after;
        }
    }
    true
}
