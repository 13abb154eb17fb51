/* Preloaded into the agent by `tests/soak/run --self-test`: a thread that loses 256 KiB a second, which must be found. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *volatile lost;

static void *leak(void *unused)
{
	(void)unused;
	for (;;) {
		void *piece = malloc(32 * 1024);
		if (piece)
			memset(piece, 1, 32 * 1024);
		lost = piece;
		usleep(125 * 1000);
	}
	return 0;
}

__attribute__((constructor)) static void start(void)
{
	pthread_t thread;
	pthread_create(&thread, 0, leak, 0);
}
