/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Values that tell whether they are whole, and of that key.
 *
 *	  seed (4 characters) | checksum (6 characters) | text made from the seed
 *
 * The checksum is of key, seed, length and text.  All characters are letters,
 * so that a value is a text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/hash.h"
#include "probe.h"

#define SEED_CHARACTERS		4
#define CHECKSUM_CHARACTERS 6
#define LETTER_BITS			4
#define REPEATED_WORDS		5

StaticAssertDecl(SEED_CHARACTERS + CHECKSUM_CHARACTERS == VALUE_MIN,
				 "a value begins with seed and checksum");

static void
write_letters(char *to, uint64 number, int count)
{
	for (int i = 0; i < count; i++)
		to[i] = 'A' + (number >> (i * LETTER_BITS) & 0xf);
}

static uint64
checksum(const char *value, Size size, const char *key, Size key_size)
{
	uint64 of_key = cg_hash(key, key_size, size);
	uint64 of_seed = cg_hash(value, SEED_CHARACTERS, of_key);

	return cg_hash(value + VALUE_MIN, size - VALUE_MIN, of_seed);
}

/* Eight letters of a text at once, from eight bytes at random. */
static inline uint64
letters(uint64 bits)
{
	return (bits & UINT64CONST(0x0f0f0f0f0f0f0f0f)) + UINT64CONST(0x4141414141414141);
}

/* Of the seed 16 bits are kept.  A quarter of all texts repeats, and can be compressed. */
void
probe_value_write(char *value, Size size, const char *key, Size key_size, uint32 seed)
{
	Random random = {seed};
	int period = seed % 4 == 0 ? REPEATED_WORDS : PG_INT32_MAX;
	Size i;

	write_letters(value, seed, SEED_CHARACTERS);
	for (i = VALUE_MIN; i + sizeof(uint64) <= size; i += sizeof(uint64))
	{
		uint64 word;

		if (i / sizeof(uint64) % period == 0)
			random.state = seed;
		word = letters(probe_random(&random));
		memcpy(value + i, &word, sizeof(word));
	}
	write_letters(value + i, probe_random(&random), size - i);
	write_letters(value + SEED_CHARACTERS, checksum(value, size, key, key_size),
				  CHECKSUM_CHARACTERS);
}

bool
probe_value_check(const char *value, Size size, const char *key, Size key_size)
{
	char wanted[CHECKSUM_CHARACTERS];

	if (size < VALUE_MIN)
		return false;
	write_letters(wanted, checksum(value, size, key, key_size), CHECKSUM_CHARACTERS);
	return memcmp(value + SEED_CHARACTERS, wanted, CHECKSUM_CHARACTERS) == 0;
}

/* The 16 bits of the seed that it was made from. */
uint32
probe_value_seed(const char *value)
{
	uint32 seed = 0;

	for (int i = 0; i < SEED_CHARACTERS; i++)
		seed |= (uint32) (value[i] - 'A') << (i * LETTER_BITS);
	return seed;
}

/*
 * A size from VALUE_MIN to 16 MB.  The mood says which sizes are common: 0, small
 * ones; 1, some hundred bytes; 2, some pages; 3, anything; 4, many pages.  But for the
 * last one, small ones are many, and huge ones seldom: they take as long as thousands.
 */
uint32
probe_value_size(Random *random, int mood)
{
	static const uint32 common[] = {100, 900, 20000, 4000, 100000};
	uint64 dice = probe_below(random, 1000000);

	if (dice < 10)
		return CG_STORE_VALUE_MAX - probe_below(random, 16);
	if (dice < 40)
		return VALUE_MIN + probe_below(random, 4 * 1024 * 1024);
	if (dice < 1000)
		return VALUE_MIN + probe_below(random, 100000);
	if ((mood == 2 || mood == 3) && dice > 100000)
		return VALUE_MIN + probe_below(random, 300);
	return VALUE_MIN + probe_below(random, common[mood]);
}
