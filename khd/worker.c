// SPDX-License-Identifier: GPL-2.0-or-later
/* worker.c - one thread for what blocks, and the way back into a loop */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "khd/worker.h"

struct queue {
	struct khd_job *head, **end;
};

/**
 * struct khd_worker - a thread and its two queues
 * @lock: protects the queues and @stop
 * @wake: of the thread
 * @given: to be run
 * @ran: to be reaped
 * @fd: counts what was run
 * @stop: the thread ends when @given is empty
 */
struct khd_worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct queue given, ran;
	int fd;
	bool stop;
};

static void append(struct queue *q, struct khd_job *job)
{
	job->next = NULL;
	*q->end = job;
	q->end = &job->next;
}

static struct khd_job *first(struct queue *q)
{
	struct khd_job *job = q->head;

	if (!job)
		return NULL;
	q->head = job->next;
	if (!q->head)
		q->end = &q->head;
	return job;
}

static void *work(void *arg)
{
	struct khd_worker *worker = arg;
	struct khd_job *job;

	pthread_mutex_lock(&worker->lock);
	for (;;) {
		while (!worker->given.head && !worker->stop)
			pthread_cond_wait(&worker->wake, &worker->lock);
		job = first(&worker->given);
		if (!job)
			break;
		pthread_mutex_unlock(&worker->lock);
		job->run(job);
		pthread_mutex_lock(&worker->lock);
		append(&worker->ran, job);
		eventfd_write(worker->fd, 1);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

/* Signals are for the thread of the loop. */
static int start(struct khd_worker *worker)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&worker->thread, NULL, work, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

struct khd_worker *khd_worker_new(void)
{
	struct khd_worker *worker = calloc(1, sizeof(*worker));
	int ret;

	if (!worker)
		return NULL;
	worker->given.end = &worker->given.head;
	worker->ran.end = &worker->ran.head;
	worker->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = worker->fd < 0 ? errno : 0;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wake, NULL);
	if (!ret)
		ret = start(worker);
	if (!ret)
		return worker;
	if (worker->fd >= 0)
		close(worker->fd);
	free(worker);
	errno = ret;
	return NULL;
}

void khd_worker_free(struct khd_worker *worker)
{
	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->stop = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	close(worker->fd);
	free(worker);
}

void khd_worker_give(struct khd_worker *worker, struct khd_job *job)
{
	pthread_mutex_lock(&worker->lock);
	append(&worker->given, job);
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
}

int khd_worker_fd(const struct khd_worker *worker)
{
	return worker->fd;
}

void khd_worker_reap(struct khd_worker *worker)
{
	struct khd_job *job, *next;
	eventfd_t count;

	eventfd_read(worker->fd, &count);
	pthread_mutex_lock(&worker->lock);
	job = worker->ran.head;
	worker->ran.head = NULL;
	worker->ran.end = &worker->ran.head;
	pthread_mutex_unlock(&worker->lock);
	for (; job; job = next) {
		next = job->next;
		job->done(job);
	}
}
