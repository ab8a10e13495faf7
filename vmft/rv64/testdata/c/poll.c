// Descriptors and polling: pipes, eventfd, timerfd, epoll, select, sockets, mremap.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <errno.h>

int main(void) {
	int p[2];
	pipe(p);
	struct pollfd pf = {p[0], POLLIN, 0};
	printf("poll %d", poll(&pf, 1, 5));
	write(p[1], "x", 1);
	printf(" %d\n", poll(&pf, 1, -1));
	int ev = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	uint64_t v;
	int n = 0;
	while (read(ev, &v, 8) == 8) n++;
	printf("eventfd %d times, then %s\n", n, strerror(errno));
	int tf = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec its = {{0, 2000000}, {0, 1000000}};
	timerfd_settime(tf, 0, &its, 0);
	usleep(10000);
	read(tf, &v, 8);
	printf("timer went off often: %d\n", v >= 5);
	int ep = epoll_create1(0);
	struct epoll_event e = {EPOLLIN | EPOLLET, {.fd = p[0]}}, got[4];
	epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e);
	printf("edge %d", epoll_wait(ep, got, 4, 0));
	printf(" %d", epoll_wait(ep, got, 4, 0));
	write(p[1], "y", 1);
	printf(" %d\n", epoll_wait(ep, got, 4, 0));
	e.events = EPOLLIN;
	epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e);
	printf("level %d", epoll_wait(ep, got, 4, 0));
	printf(" %d\n", epoll_wait(ep, got, 4, 0));
	fd_set set;
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	printf("select %d %d\n", select(p[0] + 1, &set, 0, 0, 0), FD_ISSET(p[0], &set));
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	bind(l, (void *)&a, len);
	listen(l, 5);
	getsockname(l, (void *)&a, &len);
	printf("connect %d\n", connect(c, (void *)&a, len));
	int s = accept(l, 0, 0);
	send(c, "hello", 5, 0);
	char buf[100] = "";
	printf("peek %zd, read %zd %s\n", recv(s, buf, 100, MSG_PEEK), recv(s, buf, 3, MSG_WAITALL), buf);
	shutdown(c, SHUT_WR);
	printf("rest %zd, end %zd\n", read(s, buf, 100), read(s, buf, 100));
	int u[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, u);
	write(u[0], "unix", 4);
	printf("pair %zd\n", read(u[1], buf, 100));
	struct sockaddr_un un = {AF_UNIX, "/tmp/sock"};
	int ul = socket(AF_UNIX, SOCK_STREAM, 0), uc = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(ul, (void *)&un, sizeof un);
	listen(ul, 1);
	printf("unix connect %d\n", connect(uc, (void *)&un, sizeof un));
	char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(m + 5000, "moved");
	mmap(m + 8192, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	m = mremap(m, 8192, 1 << 20, MREMAP_MAYMOVE);
	printf("%s %d\n", m + 5000, m[1 << 19]);
	mkdir("/tmp/d", 0755);
	close(open("/tmp/d/b", O_CREAT | O_WRONLY, 0600));
	symlink("b", "/tmp/d/a");
	struct dirent *de;
	DIR *d = opendir("/tmp/d");
	while ((de = readdir(d))) printf("%s:%d ", de->d_name, de->d_type);
	struct stat st;
	printf("\n%d %o %d\n", lstat("/tmp/d/a", &st), st.st_mode, rmdir("/tmp/d"));
	printf("escape %d\n", open("/../../../../etc/passwd", O_RDONLY));
	return 0;
}
