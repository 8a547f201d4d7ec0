/* Signals, jumps, contexts, processes: libc. */
#define _GNU_SOURCE
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t caught, on_other_stack;
static char other_stack[65536], stacks[2][65536];
static sigjmp_buf back;
static jmp_buf plain;
static ucontext_t main_context, contexts[2];
static int trace[40], traced;

static void handle(int number, siginfo_t *info, void *context)
{
	char here;
	on_other_stack = &here > other_stack && &here < other_stack + sizeof other_stack;
	caught += number + (info->si_pid == getpid()) + (context != NULL);
	if (number == SIGSEGV)
		siglongjmp(back, 7);
}

static __attribute__((noinline)) int dive(int depth)
{
	if (depth == 0)
		longjmp(plain, 9);
	return dive(depth - 1) + depth;
}

static void coroutine(int id)
{
	for (int i = 0; i < 10; i++) {
		trace[traced++] = id * 100 + i;
		swapcontext(&contexts[id], i < 9 ? &contexts[!id] : &main_context);
	}
}

static void at_exit_1(void) { puts("first registered"); }
static void at_exit_2(void) { puts("second registered"); }
static __attribute__((constructor)) void begin(void) { puts("constructor"); }
static __attribute__((destructor)) void end(void) { puts("destructor"); fflush(stdout); }

int main(void)
{
	atexit(at_exit_1);
	atexit(at_exit_2);
	sigaltstack(&(stack_t){ .ss_sp = other_stack, .ss_size = sizeof other_stack }, NULL);
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	for (int number = SIGHUP; number <= SIGUSR2; number++)
		if (number != SIGKILL)
			sigaction(number, &action, NULL);
	raise(SIGUSR1);
	kill(getpid(), SIGHUP);
	printf("%d %d\n", (int)caught, (int)on_other_stack);
	int code = sigsetjmp(back, 1);
	if (!code)
		*(volatile int *)8 = 1;
	printf("%d\n", code);
	code = setjmp(plain);
	if (!code)
		dive(20);
	printf("%d\n", code);
	for (int i = 0; i < 2; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = sizeof stacks[i];
		contexts[i].uc_link = &main_context;
		makecontext(&contexts[i], (void (*)(void))coroutine, 1, i);
	}
	swapcontext(&main_context, &contexts[0]);
	for (int i = 0; i < traced; i++)
		printf("%d ", trace[i]);
	int ends[2], pair[2], status;
	char text[50];
	pipe(ends);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		close(ends[0]);
		ssize_t got = read(pair[1], text, sizeof text);
		write(ends[1], text, got);
		write(ends[1], "!", 1);
		_exit(got);
	}
	close(ends[1]);
	write(pair[0], "to the child", 12);
	struct pollfd wait_for = { .fd = ends[0], .events = POLLIN };
	printf("\n%d ", poll(&wait_for, 1, 20000));
	waitpid(child, &status, 0);
	ssize_t got = read(ends[0], text, sizeof text);
	printf("%d %.*s\n", WEXITSTATUS(status), (int)got, text);
	struct itimerval soon = { .it_value.tv_usec = 1000 };
	sigset_t none;
	sigemptyset(&none);
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarms, NULL);
	signal(SIGALRM, SIG_IGN);
	struct sigaction again = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO };
	sigaction(SIGALRM, &again, NULL);
	caught = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	sigsuspend(&none);
	printf("%d\n", caught >= SIGALRM);
	return 0;
}
