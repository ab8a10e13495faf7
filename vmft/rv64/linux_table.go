package rv64

// syscalls are the calls that there are, by number.
var syscalls map[uint64]syscall

func init() {
	syscalls = map[uint64]syscall{
		17: {"getcwd", sysGetcwd}, 19: {"eventfd2", sysEventfd2}, 20: {"epoll_create1", sysEpollCreate1},
		21: {"epoll_ctl", sysEpollCtl}, 22: {"epoll_pwait", sysEpollPwait}, 23: {"dup", sysDup}, 24: {"dup3", sysDup3},
		25: {"fcntl", sysFcntl}, 29: {"ioctl", sysIoctl}, 32: {"flock", sysFlock}, 33: {"mknodat", sysMknodat},
		34: {"mkdirat", sysMkdirat}, 35: {"unlinkat", sysUnlinkat}, 36: {"symlinkat", sysSymlinkat}, 37: {"linkat", sysLinkat},
		43: {"statfs", sysStatfs}, 44: {"fstatfs", sysFstatfs}, 45: {"truncate", sysTruncate}, 46: {"ftruncate", sysFtruncate},
		47: {"fallocate", sysFallocate}, 48: {"faccessat", sysFaccessat2}, 49: {"chdir", sysChdir}, 50: {"fchdir", sysFchdir},
		52: {"fchmod", sysFchmod}, 53: {"fchmodat", sysFchmodat}, 54: {"fchownat", sysFchownat}, 55: {"fchown", sysFchown},
		56: {"openat", sysOpenat}, 57: {"close", sysClose}, 59: {"pipe2", sysPipe2}, 61: {"getdents64", sysGetdents64},
		62: {"lseek", sysLseek}, 63: {"read", sysRead}, 64: {"write", sysWrite}, 65: {"readv", sysReadv}, 66: {"writev", sysWritev},
		67: {"pread64", sysPread}, 68: {"pwrite64", sysPwrite}, 69: {"preadv", sysPreadv}, 70: {"pwritev", sysPwritev},
		71: {"sendfile", sysSendfile}, 72: {"pselect6", sysPselect6}, 73: {"ppoll", sysPpoll}, 76: {"splice", sysSplice},
		78: {"readlinkat", sysReadlinkat}, 79: {"newfstatat", sysNewfstatat}, 80: {"fstat", sysFstat}, 81: {"sync", sysSync},
		82: {"fsync", sysFsync}, 83: {"fdatasync", sysFsync}, 84: {"sync_file_range", sysFsync},
		85: {"timerfd_create", sysTimerfdCreate}, 86: {"timerfd_settime", sysTimerfdSettime}, 87: {"timerfd_gettime", sysTimerfdGettime},
		88: {"utimensat", sysUtimensat}, 93: {"exit", sysExit}, 94: {"exit_group", sysExitGroup}, 96: {"set_tid_address", sysSetTidAddress},
		98: {"futex", sysFutex}, 99: {"set_robust_list", sysSetRobustList}, 101: {"nanosleep", sysNanosleep},
		102: {"getitimer", sysGetitimer}, 103: {"setitimer", sysSetitimer}, 113: {"clock_gettime", sysClockGettime},
		114: {"clock_getres", sysClockGetres}, 115: {"clock_nanosleep", sysClockNanosleep},
		118: {"sched_setparam", sysZero}, 119: {"sched_setscheduler", sysZero}, 120: {"sched_getscheduler", sysSchedGetscheduler},
		121: {"sched_getparam", sysSchedGetparam}, 122: {"sched_setaffinity", sysSchedSetaffinity}, 123: {"sched_getaffinity", sysSchedGetaffinity},
		124: {"sched_yield", sysSchedYield}, 125: {"sched_get_priority_max", sysZero}, 126: {"sched_get_priority_min", sysZero},
		129: {"kill", sysKill}, 130: {"tkill", sysTkill}, 131: {"tgkill", sysTgkill}, 132: {"sigaltstack", sysSigaltstack},
		133: {"rt_sigsuspend", sysRtSigsuspend}, 134: {"rt_sigaction", sysRtSigaction}, 135: {"rt_sigprocmask", sysRtSigprocmask},
		136: {"rt_sigpending", sysRtSigpending}, 137: {"rt_sigtimedwait", sysRtSigtimedwait}, 139: {"rt_sigreturn", sysRtSigreturn},
		140: {"setpriority", sysZero}, 141: {"getpriority", sysGetpriority},
		144: {"setgid", sysSetid}, 146: {"setuid", sysSetid}, 148: {"getresuid", sysGetresid}, 150: {"getresgid", sysGetresid},
		153: {"times", sysTimes}, 154: {"setpgid", sysSetpgid}, 155: {"getpgid", sysGetpgid}, 157: {"setsid", sysSetsid}, 156: {"getsid", sysGetsid}, 158: {"getgroups", sysGetgroups},
		160: {"uname", sysUname}, 163: {"getrlimit", sysGetrlimit}, 164: {"setrlimit", sysSetrlimit}, 165: {"getrusage", sysGetrusage},
		166: {"umask", sysUmask}, 167: {"prctl", sysPrctl}, 168: {"getcpu", sysGetcpu}, 169: {"gettimeofday", sysGettimeofday},
		172: {"getpid", sysGetpid}, 173: {"getppid", sysGetppid}, 174: {"getuid", sysZero}, 175: {"geteuid", sysZero},
		176: {"getgid", sysZero}, 177: {"getegid", sysZero}, 178: {"gettid", sysGettid}, 179: {"sysinfo", sysSysinfo},
		198: {"socket", sysSocket}, 199: {"socketpair", sysSocketpair}, 200: {"bind", sysBind}, 201: {"listen", sysListen},
		202: {"accept", sysAccept}, 203: {"connect", sysConnect}, 204: {"getsockname", sysGetsockname}, 205: {"getpeername", sysGetpeername},
		206: {"sendto", sysSendto}, 207: {"recvfrom", sysRecvfrom}, 208: {"setsockopt", sysSetsockopt}, 209: {"getsockopt", sysGetsockopt},
		210: {"shutdown", sysShutdown}, 211: {"sendmsg", sysSendmsg}, 212: {"recvmsg", sysRecvmsg},
		214: {"brk", sysBrk}, 215: {"munmap", sysMunmap}, 216: {"mremap", sysMremap}, 220: {"clone", sysClone},
		221: {"execve", sysExecve}, 222: {"mmap", sysMmap}, 223: {"fadvise64", sysFadvise}, 226: {"mprotect", sysMprotect}, 227: {"msync", sysMsync},
		228: {"mlock", sysMlock}, 229: {"munlock", sysMlock}, 230: {"mlockall", sysMlock}, 231: {"munlockall", sysMlock},
		232: {"mincore", sysMincore}, 233: {"madvise", sysMadvise}, 242: {"accept4", sysAccept4}, 243: {"recvmmsg", sysRecvmmsg}, 269: {"sendmmsg", sysSendmmsg}, 258: {"riscv_hwprobe", sysHwprobe}, 259: {"riscv_flush_icache", sysZero},
		260: {"wait4", sysWait4}, 95: {"waitid", sysWaitid}, 261: {"prlimit64", sysPrlimit64}, 276: {"renameat2", sysRenameat2},
		278: {"getrandom", sysGetrandom}, 283: {"membarrier", sysMembarrier}, 284: {"mlock2", sysMlock}, 285: {"copy_file_range", sysCopyFileRange},
		291: {"statx", sysStatx}, 436: {"close_range", sysCloseRange}, 439: {"faccessat2", sysFaccessat},
		441: {"epoll_pwait2", sysEpollPwait2}, 452: {"fchmodat2", sysFchmodat2},
	}
}

// sysFaccessat2 is the old call, which has no flags.
func sysFaccessat2(k *kernel, t *thread, a *[6]uint64) int64 {
	return sysFaccessat(k, t, &[6]uint64{a[0], a[1], a[2]})
}

// sysGetpriority returns 20 minus the nice value, as the kernel does.
func sysGetpriority(*kernel, *thread, *[6]uint64) int64 { return 20 }

// missingCalls are the names of calls that programs make and that there are not.
var missingCalls = map[uint64]string{
	5: "setxattr", 8: "getxattr", 11: "listxattr", 26: "inotify_init1", 27: "inotify_add_watch", 39: "umount2", 40: "mount", 51: "chroot",
	74: "signalfd4", 75: "vmsplice", 77: "tee", 89: "acct", 90: "capget", 91: "capset", 92: "personality", 97: "unshare", 100: "get_robust_list",
	105: "init_module", 107: "timer_create", 110: "timer_settime", 111: "timer_delete", 112: "clock_settime", 117: "ptrace", 127: "sched_rr_get_interval", 138: "rt_sigqueueinfo",
	142: "reboot", 143: "setregid", 145: "setreuid", 147: "setresuid", 149: "setresgid", 159: "setgroups",
	161: "sethostname", 170: "settimeofday", 171: "adjtimex", 180: "mq_open", 194: "shmget", 196: "shmat", 213: "readahead", 217: "add_key", 219: "keyctl",
	234: "remap_file_pages", 235: "mbind", 241: "perf_event_open", 262: "fanotify_init",
	266: "clock_adjtime", 267: "syncfs", 268: "setns", 270: "process_vm_readv", 274: "sched_setattr", 275: "sched_getattr", 277: "seccomp",
	279: "memfd_create", 280: "bpf", 281: "execveat", 282: "userfaultfd", 286: "preadv2", 287: "pwritev2", 288: "pkey_mprotect", 293: "rseq",
	424: "pidfd_send_signal", 425: "io_uring_setup", 434: "pidfd_open", 435: "clone3", 437: "openat2", 438: "pidfd_getfd", 440: "process_madvise",
}
