/* Ciphers in all modes, there and back: libcrypto, its assembly among it. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 20000 };
static unsigned char data[SIZE], secret[SIZE + 100], opened[SIZE + 100], key[64], iv[16];

int main(void)
{
	static const char *const names[] = { "AES-128-ECB", "AES-192-ECB", "AES-256-ECB", "AES-128-CBC",
		"AES-192-CBC", "AES-256-CBC", "AES-128-CTR", "AES-192-CTR", "AES-256-CTR", "AES-128-XTS",
		"AES-256-XTS", "AES-128-CFB", "AES-256-CFB8", "AES-128-OFB", "AES-128-GCM", "AES-192-GCM",
		"AES-256-GCM", "AES-128-OCB", "AES-256-WRAP", "CHACHA20", "CHACHA20-POLY1305", "CAMELLIA-128-CBC",
		"CAMELLIA-256-CTR", "ARIA-256-CBC", "ARIA-128-GCM", "DES-EDE3-CBC", "SM4-CTR" };
	for (int i = 0; i < SIZE; i++)
		data[i] = i * 7 + i / 256;
	for (int i = 0; i < 64; i++)
		key[i] = i * 11 + 3, iv[i % 16] = 200 - i;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, names[i], NULL);
		EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
		int length, total = 0, back = 0, wrap = strstr(names[i], "WRAP") != NULL;
		int aead = cipher && EVP_CIPHER_get_flags(cipher) & EVP_CIPH_FLAG_AEAD_CIPHER;
		int size = wrap ? 4000 : strstr(names[i], "XTS") ? 4000 : SIZE;
		unsigned char tag[16] = { 0 };
		if (!cipher || !EVP_EncryptInit_ex(context, cipher, NULL, key, iv)) {
			printf("%s: not there\n", names[i]);
			continue;
		}
		if (aead)
			EVP_EncryptUpdate(context, NULL, &length, key, 20);
		for (int at = 0, step = size == SIZE ? 777 : size; at < size; at += step) {
			EVP_EncryptUpdate(context, secret + total, &length, data + at, at + step < size ? step : size - at);
			total += length;
		}
		EVP_EncryptFinal_ex(context, secret + total, &length);
		total += length;
		if (aead)
			EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag);
		unsigned sum = 0;
		for (int j = 0; j < total; j++)
			sum = sum * 31 + secret[j];
		EVP_DecryptInit_ex(context, cipher, NULL, key, iv);
		if (aead) {
			EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, tag);
			EVP_DecryptUpdate(context, NULL, &length, key, 20);
		}
		EVP_DecryptUpdate(context, opened, &length, secret, total);
		back = length;
		int good = EVP_DecryptFinal_ex(context, opened + back, &length);
		back += length;
		printf("%s %d %08x %02x%02x %d %d\n", names[i], total, sum, tag[0], tag[15], good,
		       back == size && !memcmp(opened, data, size));
		EVP_CIPHER_CTX_free(context);
		EVP_CIPHER_free(cipher);
	}
	return 0;
}
