//! Programs whose kernel lacks something: a filter refuses the system call by which they would get it.

#![allow(unsafe_code, reason = "a filter of system calls has no safe form in std")]

use std::io;

use libc::{AF_NETLINK, NETLINK_NETFILTER, SYS_socket, sock_filter, sock_fprog};

/// Offsets in `struct seccomp_data`: the number of the system call, the low halves of its first and third argument.
const NUMBER: u32 = 0;
const FIRST: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };
const THIRD: u32 = FIRST + 16;

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// Goes on when it is `value`, and `further` steps further when not.
const fn expect(value: u32, further: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: further, k: value }
}

const fn answer(what: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: what }
}

/// The socket that speaks to nftables cannot be opened.
const NO_NFTABLES: [sock_filter; 8] = [
    load(NUMBER),
    expect(SYS_socket as u32, 5),
    load(FIRST),
    expect(AF_NETLINK as u32, 3),
    load(THIRD),
    expect(NETLINK_NETFILTER as u32, 1),
    answer(libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT as u32),
    answer(libc::SECCOMP_RET_ALLOW),
];

/// From here on, for this process and its children, the kernel has no nftables. Allocates nothing and locks nothing.
pub(crate) fn deny_nftables() -> io::Result<()> {
    let mut filter = NO_NFTABLES;
    let program = sock_fprog { len: NO_NFTABLES.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives until the calls return, and the kernel copies it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}
