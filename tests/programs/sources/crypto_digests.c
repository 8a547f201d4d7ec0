/* Digests, codes and derived keys: libcrypto. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <string.h>

static unsigned char data[100000];

static void print(const char *name, const unsigned char *bytes, size_t size)
{
	printf("%s ", name);
	for (size_t i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	putchar('\n');
}

int main(void)
{
	static const char *const names[] = { "MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512",
		"SHA512-256", "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512", "SHAKE128", "SHAKE256",
		"BLAKE2b512", "BLAKE2s256", "RIPEMD160", "SM3", "MD5-SHA1" };
	unsigned char result[EVP_MAX_MD_SIZE * 4];
	unsigned size;
	for (unsigned i = 0; i < sizeof data; i++)
		data[i] = i * i >> 5;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		EVP_MD *digest = EVP_MD_fetch(NULL, names[i], NULL);
		EVP_MD_CTX *context = EVP_MD_CTX_new();
		if (!digest || !EVP_DigestInit_ex(context, digest, NULL))
			return 1;
		for (size_t at = 0, step = 1; at < sizeof data; at += step, step = step * 3 % 4999 + 1)
			EVP_DigestUpdate(context, data + at, at + step < sizeof data ? step : sizeof data - at);
		EVP_DigestFinal_ex(context, result, &size);
		print(names[i], result, size);
		if (HMAC(digest, "a key", 5, data, 5000, result, &size))
			print("  HMAC", result, size);
		EVP_MD_CTX_free(context);
		EVP_MD_free(digest);
	}
	PKCS5_PBKDF2_HMAC("password", 8, data, 16, 500, EVP_sha256(), 48, result);
	print("PBKDF2", result, 48);
	if (!EVP_PBE_scrypt("password", 8, data, 16, 256, 8, 1, 1 << 25, result, 40))
		return 2;
	print("scrypt", result, 40);
	EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t length = 70;
	EVP_PKEY_derive_init(derive);
	EVP_PKEY_CTX_set_hkdf_md(derive, EVP_sha512());
	EVP_PKEY_CTX_set1_hkdf_salt(derive, data, 20);
	EVP_PKEY_CTX_set1_hkdf_key(derive, data, 32);
	EVP_PKEY_CTX_add1_hkdf_info(derive, (const unsigned char *)"info", 4);
	EVP_PKEY_derive(derive, result, &length);
	print("HKDF", result, length);
	static const char *const codes[] = { "CMAC", "GMAC", "POLY1305", "SIPHASH", "KMAC128" };
	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
		EVP_MAC *mac = EVP_MAC_fetch(NULL, codes[i], NULL);
		EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
		OSSL_PARAM parameters[3], *end = parameters;
		if (i < 2)
			*end++ = OSSL_PARAM_construct_utf8_string("cipher", i ? "AES-128-GCM" : "AES-128-CBC", 0);
		if (i == 1)
			*end++ = OSSL_PARAM_construct_octet_string("iv", data, 12);
		*end = OSSL_PARAM_construct_end();
		if (!EVP_MAC_init(context, data + 7, i == 2 ? 32 : 16, parameters))
			return 3;
		EVP_MAC_update(context, data, 12345);
		EVP_MAC_final(context, result, &length, sizeof result);
		print(codes[i], result, length);
		EVP_MAC_CTX_free(context);
		EVP_MAC_free(mac);
	}
	return 0;
}
