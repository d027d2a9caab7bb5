// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's first process, and its end of the command channel.
 *
 * One virtio-serial port carries frames both ways:
 *
 *	u32 length of the payload (little endian), u8 type, payload
 *
 * Frames of a run are in order: all of its output comes before its EXIT, so
 * whoever reads EXIT has everything.  A run ends when its first process does;
 * what it left behind is killed, so that one run cannot disturb the next.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"

/* Guest to host. */
#define F_HELLO		'h'
#define F_OUT		'o'
#define F_ERR		'e'
#define F_EXIT		'x'	/* i32: exit code, or 128 + signal */
/* Host to guest. */
#define F_RUN		'r'	/* u16 flags, rows, cols; command NUL [NAME=VALUE NUL]... */
#define   RUN_PTY	1
#define F_INPUT		'i'	/* empty: end of input */
#define F_WINCH		'w'	/* u16 rows, cols */
#define F_SIGNAL	's'	/* u8 signal, to the run's process group */
#define F_LOG		'l'	/* text for the kernel's log */
#define F_QUIT		'q'	/* power off */

#define CHUNK		32768
#define BACKLOG		(1 << 20)

static int chan = -1;
static int sigs = -1;
static pid_t child = -1;
static int in_fd = -1, out_fd = -1, err_fd = -1;
static int is_pty;
static char *pending;		/* input that the child has not taken yet */
static size_t pending_len;
static int pending_eof;

void klog(const char *fmt, ...)
{
	char buf[900];
	va_list ap;
	ssize_t n;
	int fd;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = write(fd, buf, strlen(buf));
		(void)n;		/* nowhere to complain */
		close(fd);
	}
}

static void __attribute__((noreturn)) power_off(void)
{
	sync();
	umount2("/scratch", MNT_DETACH);
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void __attribute__((noreturn)) give_up(const char *why)
{
	klog("<3>ccad-agent: %s: %m\n", why);
	power_off();
}

static void write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN) {
				struct pollfd pfd = { .fd = fd, .events = POLLOUT };

				poll(&pfd, 1, -1);
				continue;
			}
			give_up("channel");
		}
		p += n;
		len -= n;
	}
}

static void send_frame(char type, const void *data, uint32_t len)
{
	static char buf[5 + CHUNK];

	memcpy(buf, &len, 4);
	buf[4] = type;
	memcpy(buf + 5, data, len);
	write_all(chan, buf, 5 + len);
}

static int open_channel(void)
{
	char path[300], name[64];
	struct dirent *e;
	DIR *d = opendir("/sys/class/virtio-ports");

	while (d && (e = readdir(d))) {
		int fd, n;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, name, sizeof(name) - 1);
		close(fd);
		if (n < 9 || strncmp(name, "ccad.exec", 9))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", e->d_name);
		closedir(d);
		return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	if (d)
		closedir(d);
	return -1;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void start(char *data, uint32_t len)
{
	uint16_t head[3];
	char *cmd, *env;
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	sigset_t none;
	char *argv[] = { "bash", "-l", NULL, NULL, NULL };

	if (child >= 0 || len < sizeof(head) + 1 || data[len - 1]) {
		klog("<3>ccad-agent: bad request\n");
		return;
	}
	memcpy(head, data, sizeof(head));
	cmd = data + sizeof(head);
	is_pty = head[0] & RUN_PTY;
	if (is_pty) {
		struct winsize ws = { .ws_row = head[1], .ws_col = head[2] };

		child = forkpty(&in[1], NULL, NULL, &ws);
		if (child > 0)
			out[0] = fcntl(in[1], F_DUPFD_CLOEXEC, 3);
	} else {
		if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
			give_up("pipe");
		child = fork();
	}
	if (child < 0)
		give_up("fork");
	if (!child) {
		if (!is_pty) {
			setsid();
			dup2(in[0], 0);
			dup2(out[1], 1);
			dup2(err[1], 2);
		}
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		for (env = cmd + strlen(cmd) + 1; env < data + len; env += strlen(env) + 1)
			putenv(env);
		if (chdir("/root"))
			_exit(126);
		if (*cmd) {
			argv[1] = "-c";
			argv[2] = cmd;
		}
		execv("/bin/bash", argv);
		_exit(127);
	}
	close_fd(&in[0]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	in_fd = in[1];
	out_fd = out[0];
	err_fd = err[0];
	fcntl(in_fd, F_SETFL, O_NONBLOCK);
	fcntl(out_fd, F_SETFL, O_NONBLOCK);
	if (err_fd >= 0)
		fcntl(err_fd, F_SETFL, O_NONBLOCK);
	pending_len = 0;
	pending_eof = 0;
}

/* Returns 0 when there is nothing more to expect from the descriptor. */
static int pump(int *fd, char type)
{
	static char buf[CHUNK];
	ssize_t n;

	if (*fd < 0)
		return 0;
	n = read(*fd, buf, sizeof(buf));
	if (n > 0) {
		send_frame(type, buf, n);
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	close_fd(fd);
	return 0;
}

static void feed(void)
{
	while (in_fd >= 0 && pending_len) {
		ssize_t n = write(in_fd, pending, pending_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			close_fd(&in_fd);
			break;
		}
		pending_len -= n;
		memmove(pending, pending + n, pending_len);
	}
	if (in_fd < 0)
		pending_len = 0;
	if (!pending_len && pending_eof) {
		if (!is_pty)
			close_fd(&in_fd);
		pending_eof = 0;
	}
}

/* Kill what the run left behind: everything but this process and the kernel. */
static void sweep(void)
{
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void reap(void)
{
	struct signalfd_siginfo si;
	int status;
	pid_t p;
	int32_t code;

	while (read(sigs, &si, sizeof(si)) > 0)
		;
	while ((p = waitpid(-1, &status, WNOHANG)) > 0) {
		if (p != child)
			continue;
		/* First, or what it left behind could write for ever. */
		sweep();
		while (pump(&out_fd, F_OUT))
			;
		while (pump(&err_fd, F_ERR))
			;
		code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		close_fd(&in_fd);
		close_fd(&out_fd);
		close_fd(&err_fd);
		child = -1;
		send_frame(F_EXIT, &code, sizeof(code));
		return;
	}
}

static void handle(char type, char *data, uint32_t len)
{
	struct winsize ws = { 0 };
	uint16_t dim[2];

	switch (type) {
	case F_RUN:
		start(data, len);
		break;
	case F_INPUT:
		if (!len) {
			pending_eof = 1;
		} else if (in_fd >= 0) {
			pending = realloc(pending, pending_len + len);
			if (!pending)
				give_up("memory");
			memcpy(pending + pending_len, data, len);
			pending_len += len;
		}
		feed();
		break;
	case F_WINCH:
		if (len >= sizeof(dim) && in_fd >= 0 && is_pty) {
			memcpy(dim, data, sizeof(dim));
			ws.ws_row = dim[0];
			ws.ws_col = dim[1];
			ioctl(in_fd, TIOCSWINSZ, &ws);
		}
		break;
	case F_SIGNAL:
		if (len && child > 0)
			kill(-child, data[0]);
		break;
	case F_LOG:
		klog("%.*s\n", (int)len, data);
		break;
	case F_QUIT:
		power_off();
	default:
		klog("<3>ccad-agent: unknown frame %d\n", type);
	}
}

static void receive(void)
{
	static char *buf;
	static size_t have, room;
	uint32_t len;
	ssize_t n;

	if (room - have < CHUNK) {
		room = have + 2 * CHUNK;
		buf = realloc(buf, room);
		if (!buf)
			give_up("memory");
	}
	n = read(chan, buf + have, room - have);
	if (!n)
		power_off();		/* the host has gone */
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return;
		give_up("channel");
	}
	have += n;
	while (have >= 5) {
		memcpy(&len, buf, 4);
		if (len > 64 << 20) {
			errno = EMSGSIZE;
			give_up("channel");
		}
		if (have < 5 + (size_t)len)
			break;
		handle(buf[4], buf + 5, len);
		have -= 5 + len;
		memmove(buf, buf + 5 + len, have);
	}
}

int main(void)
{
	sigset_t set;

	setup();
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigs = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigs < 0)
		give_up("signalfd");
	chan = open_channel();
	if (chan < 0)
		give_up("no port ccad.exec");
	send_frame(F_HELLO, "1", 1);
	for (;;) {
		struct pollfd p[] = {
			{ .fd = pending_len < BACKLOG ? chan : -1, .events = POLLIN },
			{ .fd = sigs, .events = POLLIN },
			{ .fd = out_fd, .events = POLLIN },
			{ .fd = err_fd, .events = POLLIN },
			{ .fd = pending_len ? in_fd : -1, .events = POLLOUT },
		};

		if (poll(p, 5, -1) < 0) {
			if (errno == EINTR)
				continue;
			give_up("poll");
		}
		if (p[2].revents)
			pump(&out_fd, F_OUT);
		if (p[3].revents)
			pump(&err_fd, F_ERR);
		if (p[4].revents)
			feed();
		if (p[1].revents)
			reap();
		if (p[0].revents)
			receive();
	}
}
