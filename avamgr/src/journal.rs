//! Events as log lines for stderr, journald or syslog, and sd_notify.
