/*-------------------------------------------------------------------------
 *
 * keyslot.c
 *	  Which of the 16,384 hash slots a key belongs to.
 *
 * As the Redis Cluster specification has it (redis.io, "Redis Cluster
 * specification", sections "Key distribution model" and "Hash tags"): the slot
 * is CRC16 of the key modulo 16384, in the variant known as XMODEM (polynomial
 * 0x1021, start 0, nothing reflected, nothing xored at the end).  If the key
 * has a '{' and behind it a '}' with something between the first of each, only
 * what is between is hashed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "redis/redis_internal.h"

#define CRC16_POLYNOMIAL 0x1021

/* CRC16 of each single byte; made at first use. */
static uint16 crc16_of_byte[256];
static bool crc16_is_made = false;

static void
make_crc16_table(void)
{
	for (int byte = 0; byte < 256; byte++)
	{
		uint32 crc = byte << 8;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 0x8000 ? (crc << 1) ^ CRC16_POLYNOMIAL : crc << 1;
		crc16_of_byte[byte] = (uint16) crc;
	}
	crc16_is_made = true;
}

static uint16
crc16(const char *data, Size size)
{
	uint16 crc = 0;

	if (!crc16_is_made)
		make_crc16_table();
	for (Size i = 0; i < size; i++)
		crc = (uint16) (crc << 8) ^ crc16_of_byte[(crc >> 8) ^ (unsigned char) data[i]];
	return crc;
}

/* The slot, 0 to REDIS_SLOT_COUNT - 1, of any bytes. */
uint16
cg_redis_key_slot(RedisString key)
{
	const char *open = memchr(key.data, '{', key.size);

	if (open)
	{
		const char *tag = open + 1;
		const char *close = memchr(tag, '}', key.data + key.size - tag);

		if (close && close > tag)
			return crc16(tag, close - tag) % REDIS_SLOT_COUNT;
	}
	return crc16(key.data, key.size) % REDIS_SLOT_COUNT;
}
