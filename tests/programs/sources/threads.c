/* POSIX threads: libc. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 200 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t together;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static sem_t permits;
static _Thread_local long own;
static long total, turn, initialized, destroyed, cleaned;
static void initialize(void) { initialized++; }
static void destroy(void *value) { __atomic_add_fetch(&destroyed, (long)value, __ATOMIC_SEQ_CST); }
static void clean(void *unused) { cleaned++; (void)unused; }

static __attribute__((noinline)) long spread(long id, long round) { return id * 31 + round % 7; }

static void *work(void *argument)
{
	long id = (long)argument;
	pthread_once(&once, initialize);
	pthread_setspecific(key, (void *)(id + 1));
	pthread_barrier_wait(&together);
	for (long i = 0; i < ROUNDS; i++) {
		own += spread(id, i);
		pthread_mutex_lock(&lock);
		while (turn % THREADS != id)
			pthread_cond_wait(&wake, &lock);
		total = total * 3 % 1000003 + spread(id, turn++);
		pthread_cond_broadcast(&wake);
		pthread_mutex_unlock(&lock);
		if (id % 2 && i % 50 == 0) {
			pthread_rwlock_wrlock(&shared);
			sem_post(&permits);
			pthread_rwlock_unlock(&shared);
		} else if (i % 50 == 1) {
			pthread_rwlock_rdlock(&shared);
			pthread_rwlock_unlock(&shared);
		}
	}
	return (void *)own;
}

static void *endless(void *unused)
{
	pthread_cleanup_push(clean, unused);
	for (;;)
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS], lasting;
	pthread_attr_t attributes;
	void *result;
	long sum = 0;
	int count;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1 << 18);
	pthread_key_create(&key, destroy);
	pthread_barrier_init(&together, NULL, THREADS);
	sem_init(&permits, 0, 0);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], &attributes, work, (void *)i);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	sem_getvalue(&permits, &count);
	printf("%ld %ld %ld %ld %ld %d %ld\n", total, turn, sum, initialized, destroyed, count, own);
	pthread_create(&lasting, NULL, endless, NULL);
	pthread_cancel(lasting);
	pthread_join(lasting, &result);
	printf("%d %ld\n", result == PTHREAD_CANCELED, cleaned);
	pthread_mutexattr_t kind;
	pthread_mutex_t strict;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&strict, &kind);
	pthread_mutex_lock(&strict);
	printf("%d %d\n", pthread_mutex_lock(&strict) == EDEADLK, pthread_mutex_trylock(&lock));
	struct timespec soon;
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 1000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	printf("waiting ends with %d\n", pthread_cond_timedwait(&wake, &lock, &soon) == ETIMEDOUT);
	return 0;
}
