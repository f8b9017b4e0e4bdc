//! `avamgr user`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::users::Right;

/// Options of `user`.
#[derive(Clone, Debug, Args)]
pub struct UserArgs {
    /// The file [default: web.users of the config, else /etc/avamgr/users]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What about them
    #[command(subcommand)]
    pub verb: UserVerb,
}

/// Verbs of `user`.
#[derive(Clone, Debug, Subcommand)]
pub enum UserVerb {
    /// Take somebody in; his password is asked for, or is the first line of the standard input
    Add {
        /// His name
        name: String,
        /// What he may do: look, or look and steer
        #[arg(long, value_enum, default_value = "viewer")]
        right: Right,
    },
    /// Give somebody another password
    Password {
        /// His name
        name: String,
    },
    /// Make a token for a program; it is printed once and kept nowhere
    Token {
        /// Its name
        name: String,
        /// What it may do: look, or look and steer
        #[arg(long, value_enum, default_value = "viewer")]
        right: Right,
    },
    /// Take somebody or a token out
    Remove {
        /// The name
        name: String,
    },
    /// Show everybody
    List,
}
