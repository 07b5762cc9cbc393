/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * key.c - region keys
 *
 * A home keeps HMAC(key, what region) and never the key.  A node proves that its user has the key
 * by HMAC(that, purpose, the home's nonce, its own id, what it asks for).  Neither the key nor what
 * the home keeps crosses the network.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include "core.h"

#define KH_MAC_MAX 256 /* bytes that a proof is about */

static void hmac(const void *key, size_t key_len, const void *what, size_t len,
		 uint8_t mac[KH_WIRE_MAC_SIZE])
{
	unsigned int size = KH_WIRE_MAC_SIZE;

	HMAC(EVP_sha256(), key, (int)key_len, what, len, mac, &size);
}

/* What the home of the region at @start keeps instead of @key. */
void kh_key_verifier(const uint8_t key[KH_KEY_SIZE], struct khazana_addr start, uint64_t generation,
		     uint8_t verifier[KH_VERIFIER_SIZE])
{
	struct {
		char purpose[24];
		uint64_t hi, lo, generation;
	} context = { "khazana region key", start.hi, start.lo, generation };

	hmac(key, KH_KEY_SIZE, &context, sizeof(context), verifier);
}

/* The proof for one call; @purpose has at most 7 characters, @len is at most KH_MAC_MAX. */
void kh_key_mac(const uint8_t verifier[KH_VERIFIER_SIZE], const char *purpose,
		const uint8_t nonce[KH_WIRE_NONCE_SIZE], kh_node_id node, const void *what,
		size_t len, uint8_t mac[KH_WIRE_MAC_SIZE])
{
	uint8_t text[16 + KH_WIRE_NONCE_SIZE + KH_MAC_MAX] = { 0 };

	memcpy(text, purpose, strlen(purpose));
	memcpy(text + 8, nonce, KH_WIRE_NONCE_SIZE);
	memcpy(text + 8 + KH_WIRE_NONCE_SIZE, &node, sizeof(node));
	memcpy(text + 16 + KH_WIRE_NONCE_SIZE, what, len);
	hmac(verifier, KH_VERIFIER_SIZE, text, 16 + KH_WIRE_NONCE_SIZE + len, mac);
}

/* In constant time. */
bool kh_key_equal(const void *a, const void *b, size_t len)
{
	return !CRYPTO_memcmp(a, b, len);
}
