// What static C programs need: stdio, floats, malloc, threads, jumps and signals.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>
#include <math.h>
#include <time.h>
#include <errno.h>
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int total, done;
static void *work(void *arg) {
	for (int i = 0; i < 1000; i++) { pthread_mutex_lock(&mu); total += (int)(long)arg; pthread_mutex_unlock(&mu); }
	pthread_mutex_lock(&mu); done++; pthread_cond_signal(&cond); pthread_mutex_unlock(&mu);
	return (void *)((long)arg * 2);
}
static jmp_buf env;
static volatile sig_atomic_t hits;
static void onsig(int s) { hits++; }
static void onsegv(int s, siginfo_t *si, void *u) { siglongjmp(env, 1); }
int main(int argc, char **argv) {
	printf("%d %s %.17g %e %a\n", argc, argv[1], 0.1 + 0.2, M_PI * 1e100, 1.0 / 3);
	pthread_t t[8];
	for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, work, (void *)(i + 1));
	pthread_mutex_lock(&mu); while (done < 8) pthread_cond_wait(&cond, &mu); pthread_mutex_unlock(&mu);
	long sum = 0; for (int i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); sum += (long)r; }
	printf("%d %ld\n", total, sum);
	if (setjmp(env) == 0) longjmp(env, 5); else puts("jumped");
	struct sigaction sa; memset(&sa, 0, sizeof sa);
	sa.sa_handler = onsig; sigaction(SIGUSR1, &sa, 0);
	raise(SIGUSR1); kill(getpid(), SIGUSR1);
	printf("hits %d\n", (int)hits);
	sa.sa_sigaction = onsegv; sa.sa_flags = SA_SIGINFO | SA_NODEFER; sigaction(SIGSEGV, &sa, 0);
	if (sigsetjmp(env, 1) == 0) { *(volatile int *)8 = 1; } else puts("caught");
	char *p = malloc(10); for (int i = 1; i < 200; i++) { p = realloc(p, i * 10007); p[i * 10007 - 1] = i; } free(p);
	void *blocks[1000]; for (int i = 0; i < 1000; i++) blocks[i] = malloc(i * 37 % 5000); for (int i = 0; i < 1000; i += 2) free(blocks[i]);
	FILE *f = fopen("/tmp/c", "w+"); for (int i = 0; i < 1000; i++) fprintf(f, "%d %f\n", i, sqrt(i)); rewind(f);
	double d, s = 0; int n; while (fscanf(f, "%d %lf", &n, &d) == 2) s += d; fclose(f);
	printf("%.6f %s\n", s, strerror(ENOENT));
	struct timespec ts = {0, 1000000}; nanosleep(&ts, 0);
	alarm(1); sa.sa_handler = onsig; sa.sa_flags = 0; sigaction(SIGALRM, &sa, 0); pause();
	printf("hits %d\n", (int)hits);
	char line[100]; while (fgets(line, sizeof line, stdin)) printf("in: %s", line);
	fflush(stdout);
	abort();
}
