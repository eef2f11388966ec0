/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  Counts durations so that quantiles can be told to about 1.5 %.
 *
 *	  A duration of n nanoseconds falls into one of 64 equal steps between
 *	  two powers of two.  One session writes a histogram; they are added up
 *	  when the sessions have ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEMO_HISTOGRAM_H
#define DEMO_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64
#define HISTOGRAM_BINS	(HISTOGRAM_STEPS * 40)

typedef struct Histogram
{
	uint64_t total;
	uint64_t bins[HISTOGRAM_BINS];
} Histogram;

static inline void
histogram_count(Histogram *histogram, uint64_t ns)
{
	unsigned octave = 0;
	unsigned bin;

	while (ns >> octave >= 2 * HISTOGRAM_STEPS)
		octave++;
	bin = octave * HISTOGRAM_STEPS + (unsigned) (ns >> octave);
	histogram->bins[bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1]++;
	histogram->total++;
}

static inline void
histogram_add(Histogram *to, const Histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BINS; i++)
		to->bins[i] += from->bins[i];
	to->total += from->total;
}

/*
 * The duration in ns that the share (0 to 1) of all durations stays within;
 * there must be some.
 */
static inline double
histogram_quantile(const Histogram *histogram, double share)
{
	uint64_t rest = (uint64_t) (share * (double) histogram->total);
	unsigned bin = 0;
	unsigned octave;

	while (bin + 1 < HISTOGRAM_BINS && rest >= histogram->bins[bin])
		rest -= histogram->bins[bin++];
	octave = bin < 2 * HISTOGRAM_STEPS ? 0 : bin / HISTOGRAM_STEPS - 1;
	return (double) ((uint64_t) (bin - octave * HISTOGRAM_STEPS) << octave);
}

#endif
