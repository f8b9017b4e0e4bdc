//! Control socket server: frames in, commands to the loop, answers out.
