// Shared mappings of files, several messages in a call, what the processor can do.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main() {
	char buf[64] = {0};
	int fd = open("/tmp/f", O_RDWR | O_CREAT, 0600), ro = open("/tmp/f", O_RDONLY);
	ftruncate(fd, 10000);
	printf("refused %d\n", mmap(NULL, 10000, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED && errno == EACCES);
	char *a = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *b = mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 4096);
	strcpy(a + 4096, "stored");
	pread(ro, buf, 7, 4096);
	pwrite(fd, "S", 1, 4096);
	printf("%s %s %s\n", buf, a + 4096, b);
	strcpy(a + 8000, "to the end");
	strcpy(a + 11000, "past it");
	munmap(a, 12288);
	memset(buf, 0, sizeof buf);
	struct stat st;
	fstat(fd, &st);
	printf("%d %s %d\n", (int)pread(fd, buf, 60, 8000), buf, (int)st.st_size);
	unlink("/tmp/f");
	close(fd);
	close(ro);
	int other = open("/tmp/g", O_RDWR | O_CREAT, 0600); // it has the number of the old file
	write(other, "new", 3);
	printf("%s\n", b);
	a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	if (fork() == 0) {
		a[0] = 'f';
		_exit(0);
	}
	wait(NULL);
	pread(other, buf, 3, 0);
	printf("%.3s %.3s\n", buf, a);

	volatile int *turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	turn[1] = 7;
	if (fork() == 0) {
		for (int i = 0; i < 100; i++) {
			while (turn[0] != 2 * i + 1);
			turn[1] += turn[2];
			turn[0]++;
		}
		_exit(0);
	}
	for (int i = 0; i < 100; i++) {
		while (turn[0] != 2 * i);
		turn[2] = i;
		turn[0]++;
	}
	wait(NULL);
	printf("turns %d, sum %d\n", turn[0], turn[1]);

	int s[2];
	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	struct iovec iov[3] = {{"one", 3}, {"three", 5}, {"", 0}};
	struct mmsghdr m[3] = {{{.msg_iov = iov, .msg_iovlen = 1}}, {{.msg_iov = iov + 1, .msg_iovlen = 1}}};
	int sent = sendmmsg(s[0], m, 2, 0);
	char in[3][16] = {{0}};
	for (int i = 0; i < 3; i++) iov[i] = (struct iovec){in[i], 16}, m[i] = (struct mmsghdr){{.msg_iov = iov + i, .msg_iovlen = 1}};
	printf("sent %d %d", sent, recvmmsg(s[1], m, 3, MSG_WAITFORONE, NULL));
	printf(", got %d %s %d %s\n", m[0].msg_len, in[0], m[1].msg_len, in[1]);
	struct { long key; unsigned long value; } pairs[] = {{3}, {4}, {5}, {99}};
	printf("probe %ld %lx %lx %lx %ld\n", syscall(258, pairs, 4, 0, NULL, 0), pairs[0].value, pairs[1].value, pairs[2].value, pairs[3].key);
}
