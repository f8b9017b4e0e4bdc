//! What check looks at on the host before it hurts.
