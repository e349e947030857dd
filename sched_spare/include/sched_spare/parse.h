/* SPDX-License-Identifier: GPL-2.0 */
/*
 * parse.h - the texts that the spare.* files accept, as plain C for the kernel, C++ and fuzzers.
 *
 * A text is (buf, len): it need not end in NUL and an embedded NUL is malformed. Words are separated by blanks
 * (space, tab); one newline may end the text. Every function returns 0, -EINVAL for anything malformed, or
 * -ERANGE for a number outside its limits, and writes its result only on 0.
 */
#ifndef SCHED_SPARE_PARSE_H
#define SCHED_SPARE_PARSE_H

#include "abi.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#else
#include <errno.h>
#endif

/* Q every P in microseconds; both 0: no reservation ("max"). */
struct spare_reservation {
	__u32 runtime_us;
	__u32 period_us;
};

/* spare.policy (SPARE-4, SPARE-6). gain_us and chances 0: unbounded. */
struct spare_policy {
	__u32 grant_us;
	__u32 chances;
	__u32 window_us;
	__u32 gain_us;
	__u32 payback;
	__u32 wait;
	__u32 hasten;
	__u32 charge;		/* DEBT-1: enum spare_policy_charge */
	__u32 interval_us;
};

enum spare_policy_charge {
	SPARE_CHARGE_NONE,
	SPARE_CHARGE_DEBT,
};

enum spare_policy_range {
	SPARE_GRANT_MIN_US	= 1,
	SPARE_GRANT_MAX_US	= 1000000,
	SPARE_CHANCES_MAX	= 1000000,
	SPARE_WINDOW_MIN_US	= 1000,
	SPARE_WINDOW_MAX_US	= 60000000,
	SPARE_INTERVAL_MIN_US	= SPARE_PERIOD_MIN_US,	/* one of less than a period is a period */
	SPARE_INTERVAL_MAX_US	= 60000000,
};

#define SPARE_POLICY_KEYS 9
#define SPARE_POLICY_DEFAULT { 2000, 0, 1000000, 0, 0, 1, 1, SPARE_CHARGE_DEBT, 500000 }

struct spare_word {
	const char *p;
	__u32 len;
};

static inline int spare_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* One newline at the end is the shell's, not the text's. */
static inline __u32 spare_text_len(const char *buf, __u32 len)
{
	return len && buf[len - 1] == '\n' ? len - 1 : len;
}

/* The next word of buf[*pos, len). 1: found; 0: end of the text; -EINVAL: a character that no word may hold. */
static inline int spare_next_word(const char *buf, __u32 len, __u32 *pos, struct spare_word *w)
{
	__u32 i = *pos, start;

	while (i < len && spare_is_blank(buf[i]))
		i++;
	for (start = i; i < len && !spare_is_blank(buf[i]); i++)
		if (buf[i] == '\n' || buf[i] == '\0')
			return -EINVAL;
	*pos = i;
	w->p = buf + start;
	w->len = i - start;
	return i > start;
}

static inline int spare_word_is(const struct spare_word *w, const char *s)
{
	__u32 i;

	for (i = 0; i < w->len; i++)
		if (!s[i] || s[i] != w->p[i])
			return 0;
	return !s[i];
}

/* Decimal digits only. A number that does not fit is out of range, not malformed. */
static inline int spare_word_number(const struct spare_word *w, __u64 *out)
{
	const __u64 max = ~(__u64)0;
	int overflow = 0;
	__u64 v = 0;
	__u32 i;

	if (!w->len)
		return -EINVAL;
	for (i = 0; i < w->len; i++) {
		__u64 digit;

		if (w->p[i] < '0' || w->p[i] > '9')
			return -EINVAL;
		digit = (__u64)(w->p[i] - '0');
		if (v > (max - digit) / 10)
			overflow = 1;
		else
			v = v * 10 + digit;
	}
	if (overflow)
		return -ERANGE;
	*out = v;
	return 0;
}

/* CBS-7. Q/P >= 0.5 % is cross-multiplied: P <= 10^6, so nothing overflows. */
static inline int spare_reservation_check(__u64 runtime_us, __u64 period_us)
{
	if (period_us < SPARE_PERIOD_MIN_US || period_us > SPARE_PERIOD_MAX_US)
		return -ERANGE;
	if (runtime_us < SPARE_RUNTIME_MIN_US || runtime_us > period_us)
		return -ERANGE;
	if (runtime_us * SPARE_PPM < period_us * SPARE_UTIL_MIN_PPM)
		return -ERANGE;
	return 0;
}

/* spare.reservation: "Q P" or "max". */
static inline int spare_parse_reservation(const char *buf, __u32 len, struct spare_reservation *out)
{
	struct spare_word q, p, rest;
	__u64 runtime_us = 0, period_us = 0;
	int err_q, err_p, err;
	__u32 pos = 0;

	len = spare_text_len(buf, len);
	if (spare_next_word(buf, len, &pos, &q) <= 0)
		return -EINVAL;
	err = spare_next_word(buf, len, &pos, &p);
	if (err < 0)
		return err;
	if (spare_word_is(&q, "max")) {
		if (err)
			return -EINVAL;
		out->runtime_us = 0;
		out->period_us = 0;
		return 0;
	}
	if (!err || spare_next_word(buf, len, &pos, &rest))
		return -EINVAL;
	/* Malformed wins over out of range, whichever word it is in. */
	err_q = spare_word_number(&q, &runtime_us);
	err_p = spare_word_number(&p, &period_us);
	if (err_q == -EINVAL || err_p == -EINVAL)
		return -EINVAL;
	if (err_q || err_p)
		return -ERANGE;
	err = spare_reservation_check(runtime_us, period_us);
	if (err)
		return err;
	out->runtime_us = (__u32)runtime_us;
	out->period_us = (__u32)period_us;
	return 0;
}

/* spare.net.max: likewise, with a period of 100 ms at most (GUARD-1). */
static inline int spare_parse_net_max(const char *buf, __u32 len, struct spare_reservation *out)
{
	struct spare_reservation max;
	int err = spare_parse_reservation(buf, len, &max);

	if (err)
		return err;
	if (max.period_us > SPARE_NET_PERIOD_MAX_US)
		return -ERANGE;
	*out = max;
	return 0;
}

/* spare.provide: "0" or "1". */
static inline int spare_parse_flag(const char *buf, __u32 len, int *out)
{
	struct spare_word w, rest;
	__u32 pos = 0;

	len = spare_text_len(buf, len);
	if (spare_next_word(buf, len, &pos, &w) <= 0 || spare_next_word(buf, len, &pos, &rest))
		return -EINVAL;
	if (w.len != 1 || (w.p[0] != '0' && w.p[0] != '1'))
		return -EINVAL;
	*out = w.p[0] - '0';
	return 0;
}

static inline int spare_word_charge(const struct spare_word *w, __u64 *out)
{
	*out = spare_word_is(w, "debt") ? SPARE_CHARGE_DEBT : SPARE_CHARGE_NONE;
	return *out == SPARE_CHARGE_DEBT || spare_word_is(w, "none") ? 0 : -EINVAL;
}

/* One "key=value" of spare.policy; *seen has a bit for each key met, so that a key given twice is malformed. */
static inline int spare_parse_policy_word(const struct spare_word *w, struct spare_policy *pol, __u32 *seen)
{
	static const char *const keys[SPARE_POLICY_KEYS] = {
		"grant_us", "chances", "window_us", "gain_us", "payback", "wait", "hasten", "charge", "interval_us",
	};
	static const __u32 least[] = { SPARE_GRANT_MIN_US, 0, SPARE_WINDOW_MIN_US, 0, 0, 0, 0, SPARE_CHARGE_NONE, SPARE_INTERVAL_MIN_US };
	static const __u32 most[] = {
		SPARE_GRANT_MAX_US, SPARE_CHANCES_MAX, SPARE_WINDOW_MAX_US, SPARE_WINDOW_MAX_US, 1, 1, 1, SPARE_CHARGE_DEBT,
		SPARE_INTERVAL_MAX_US,
	};
	__u32 *const values[] = {
		&pol->grant_us, &pol->chances, &pol->window_us, &pol->gain_us, &pol->payback, &pol->wait, &pol->hasten,
		&pol->charge, &pol->interval_us,
	};
	struct spare_word key = { w->p, 0 }, value;
	__u64 v = 0;
	__u32 i;
	int err;

	while (key.len < w->len && w->p[key.len] != '=')
		key.len++;
	if (key.len == w->len)
		return -EINVAL;
	value.p = w->p + key.len + 1;
	value.len = w->len - key.len - 1;
	for (i = 0; i < SPARE_POLICY_KEYS; i++) {
		if (!spare_word_is(&key, keys[i]))
			continue;
		if (*seen & (1U << i))
			return -EINVAL;
		*seen |= 1U << i;
		err = values[i] == &pol->charge ? spare_word_charge(&value, &v) : spare_word_number(&value, &v);
		if (err)
			return err;
		if (v < least[i] || v > most[i])
			return -ERANGE;
		*values[i] = (__u32)v;
		return 0;
	}
	return -EINVAL;
}

/* spare.policy: "key=value" words; keys not named keep the value that *pol has on entry. */
static inline int spare_parse_policy(const char *buf, __u32 len, struct spare_policy *pol)
{
	struct spare_policy tmp = *pol;
	int err, range = 0, n = 0;
	struct spare_word w;
	__u32 pos = 0, seen = 0;

	len = spare_text_len(buf, len);
	while ((err = spare_next_word(buf, len, &pos, &w)) > 0) {
		n++;
		err = spare_parse_policy_word(&w, &tmp, &seen);
		if (err == -EINVAL)
			return err;
		if (err)
			range = err;
	}
	if (err < 0 || !n)
		return -EINVAL;
	if (range)
		return range;
	if (tmp.gain_us > tmp.window_us)
		return -ERANGE;
	*pol = tmp;
	return 0;
}

/* Utilization in parts per million, rounded up so that admission never sums to less than what is served. */
static inline __u32 spare_util_ppm(__u32 runtime_us, __u32 period_us)
{
	if (!period_us)
		return 0;
	return (__u32)(((__u64)runtime_us * SPARE_PPM + period_us - 1) / period_us);
}

#endif /* SCHED_SPARE_PARSE_H */
