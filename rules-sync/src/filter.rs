//! Which paths are replicated: the include and exclude patterns of the config.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The patterns, ready for use.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Without any, every file.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Default for Filter {
    fn default() -> Self {
        Self { include: None, exclude: GlobSet::empty() }
    }
}

impl Filter {
    /// Of these patterns.
    ///
    /// # Errors
    /// Which one is none, and why.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let include = if include.is_empty() { None } else { Some(set(include)?) };
        Ok(Self { include, exclude: set(exclude)? })
    }

    /// Whether a path is replicated. Directories are, unless they are excluded with all that is in them.
    pub fn takes(&self, way: &Path, is_directory: bool) -> bool {
        let excluded = way.ancestors().any(|part| !part.as_os_str().is_empty() && self.exclude.is_match(part));
        !excluded && (is_directory || self.include.as_ref().is_none_or(|include| include.is_match(way)))
    }
}

/// A pattern without `/` is about names, wherever they are.
fn set(patterns: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let text = if pattern.contains('/') { pattern.clone() } else { format!("**/{pattern}") };
        let glob = GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build();
        set.add(glob.map_err(|error| format!("pattern {pattern:?}: {error}"))?);
    }
    set.build().map_err(|error| format!("patterns {patterns:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn without_patterns_everything_is_replicated() {
        assert!(Filter::default().takes(Path::new("a/b"), false) && filter(&[], &[]).takes(Path::new(".x~"), false));
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_names_and_one_with_it_about_the_way() {
        let filter = filter(&["*.rules", "maps/**"], &["*~", ".*.sw[a-p]", "old", "a/b/*.rules"]);
        for (way, is_directory, taken) in [
            ("x.rules", false, true),
            ("a/x.rules", false, true),
            ("a/x.txt", false, false),
            ("a", true, true),
            ("maps/deep/x.txt", false, true),
            ("x.rules~", false, false),
            ("a/.x.rules.swp", false, false),
            ("old", true, false),
            ("old/x.rules", false, false),
            ("a/b/x.rules", false, false),
            ("a/b/c/x.rules", false, true),
        ] {
            assert_eq!(filter.takes(Path::new(way), is_directory), taken, "{way}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let error = Filter::new(&["[a".to_owned()], &[]).unwrap_err();
        assert!(error.contains("[a"), "{error}");
    }
}
