// Processes: fork copies memory, exec replaces it, signals tell of the end.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static int shared = 1;
static volatile int ended;

static void chld(int sig, siginfo_t *info, void *ctx) { ended = info->si_pid > 0 ? info->si_status : -1; }

int main(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], "hi")) {
		printf("exec %s %s, fd 9 %s\n", argv[1], getenv("X") ? getenv("X") : "-", fcntl(9, F_GETFD) < 0 ? "closed" : "open");
		return 5;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	int fds[2], status, n = 0;
	char *heap = malloc(1 << 20), buf[64];
	strcpy(heap, "parent");
	pipe(fds);
	pid_t p = fork();
	if (p == 0) {
		strcpy(heap, "child");
		shared = 2;
		write(fds[1], heap, 6);
		_exit(shared + 1);
	}
	close(fds[1]);
	while ((n = read(fds[0], buf, sizeof buf)) > 0) printf("pipe %s\n", buf);
	pid_t q = waitpid(p, &status, 0);
	printf("fork %d %d, %s %d\n", q == p, WEXITSTATUS(status), heap, shared);
	printf("none %d %d\n", waitpid(-1, &status, 0), errno == ECHILD);

	struct sigaction sa = {.sa_sigaction = chld, .sa_flags = SA_SIGINFO};
	sigaction(SIGCHLD, &sa, NULL);
	dup2(1, 9);
	fcntl(9, F_SETFD, FD_CLOEXEC);
	char *args[] = {argv[0], "spawned", NULL}, *env[] = {"X=y", NULL};
	printf("spawn %d\n", posix_spawn(&p, "/proc/self/exe", NULL, NULL, args, env));
	while (waitpid(p, &status, 0) < 0 && errno == EINTR);
	printf("status %d, handler %d\n", WEXITSTATUS(status), ended);

	if ((p = fork()) == 0) abort();
	while (waitpid(p, &status, 0) < 0 && errno == EINTR);
	printf("signal %d, handler %d\n", WTERMSIG(status), ended);

	// A tree of processes that add up.
	pipe(fds);
	for (int depth = 0; depth < 4; depth++) fork();
	write(fds[1], "x", 1);
	while (wait(NULL) > 0 || errno == EINTR);
	if (getpid() != getpgrp()) _exit(0);
	close(fds[1]);
	for (n = 0; read(fds[0], buf, 1) == 1; n++);
	printf("tree %d\n", n);

	siginfo_t info = {0};
	if ((p = fork()) == 0) for (;;) pause();
	kill(p, SIGTERM);
	while (waitid(P_PID, p, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR);
	printf("waitid %d %d %d\n", info.si_pid == p, info.si_code == CLD_KILLED, info.si_status);
	printf("reaped %d, gone %d\n", waitpid(p, NULL, WNOHANG) == p, kill(p, 0) < 0 && errno == ESRCH);
	if ((p = vfork()) == 0) _exit(3);
	waitpid(p, &status, 0);
	printf("vfork %d\n", WEXITSTATUS(status));

	// A pipe with a name: opening it waits for the other end.
	mkfifo("/tmp/fifo", 0600);
	if (fork() == 0) {
		int fd = open("/tmp/fifo", O_WRONLY);
		usleep(1000);
		write(fd, "named", 5);
		_exit(0);
	}
	printf("nobody %d\n", open("/tmp/fifo", O_WRONLY | O_NONBLOCK) < 0 && errno == ENXIO);
	int fd = open("/tmp/fifo", O_RDONLY);
	n = read(fd, buf, 64);
	printf("%.*s, then %d\n", n, buf, read(fd, buf, 64));
	while (wait(NULL) < 0 && errno == EINTR);
	if (fork() == 0) for (;;); // it ends with the program
	execl("/proc/self/exe", argv[0], "last", NULL);
}
