/* Keys, signatures, numbers and encodings: libcrypto. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

static const unsigned char message[] = "a message that is signed";

static int sign_and_verify(EVP_PKEY *key, const EVP_MD *digest)
{
	unsigned char signature[600];
	size_t size = sizeof signature;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	int done = EVP_DigestSignInit(context, NULL, digest, NULL, key) > 0 &&
		   EVP_DigestSign(context, signature, &size, message, sizeof message) > 0;
	EVP_MD_CTX_reset(context);
	done += EVP_DigestVerifyInit(context, NULL, digest, NULL, key) > 0 &&
		EVP_DigestVerify(context, signature, size, message, sizeof message) > 0;
	EVP_MD_CTX_reset(context);
	signature[size / 2] ^= 1;
	done += EVP_DigestVerifyInit(context, NULL, digest, NULL, key) > 0 &&
		EVP_DigestVerify(context, signature, size, message, sizeof message) <= 0;
	EVP_MD_CTX_free(context);
	return done;
}

static int agree(EVP_PKEY *mine, EVP_PKEY *theirs)
{
	unsigned char a[100], b[100];
	size_t m = sizeof a, n = sizeof b;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(mine, NULL);
	int done = EVP_PKEY_derive_init(context) > 0 && EVP_PKEY_derive_set_peer(context, theirs) > 0 &&
		   EVP_PKEY_derive(context, a, &m) > 0;
	EVP_PKEY_CTX_free(context);
	context = EVP_PKEY_CTX_new(theirs, NULL);
	done += EVP_PKEY_derive_init(context) > 0 && EVP_PKEY_derive_set_peer(context, mine) > 0 &&
		EVP_PKEY_derive(context, b, &n) > 0;
	EVP_PKEY_CTX_free(context);
	return done + (m == n && !memcmp(a, b, m));
}

static void numbers(void)
{
	BN_CTX *context = BN_CTX_new();
	BIGNUM *a = NULL, *b = NULL, *m = BN_new(), *r = BN_new();
	BN_dec2bn(&a, "123456789012345678901234567890123456789012345678901234567890");
	BN_hex2bn(&b, "fedcba98765432100123456789abcdeffedcba9876543210");
	BN_set_bit(m, 521);
	BN_sub_word(m, 1);
	for (int i = 0; i < 5; i++) {
		BN_mod_exp(r, a, b, m, context);
		BN_mul(b, r, a, context);
		BN_mod_inverse(a, b, m, context);
		BN_div(NULL, b, b, m, context);
		char *text = BN_bn2dec(a);
		printf("%s %d\n", text, BN_num_bits(b));
		OPENSSL_free(text);
	}
	printf("%d %d\n", BN_check_prime(m, context, NULL), BN_kronecker(a, m, context));
	BN_mod_sqrt(r, BN_value_one(), m, context);
	printf("%d\n", BN_is_one(r) || BN_cmp(r, m) < 0);
}

int main(void)
{
	static const char *const curves[] = { "P-256", "P-384", "P-521", "secp256k1", "brainpoolP256r1", "K-283" };
	numbers();
	EVP_PKEY *rsa = EVP_RSA_gen(1024);
	printf("RSA %d %d\n", sign_and_verify(rsa, EVP_sha256()), sign_and_verify(rsa, EVP_sha1()));
	for (unsigned i = 0; i < sizeof curves / sizeof *curves; i++) {
		EVP_PKEY *a = EVP_EC_gen(curves[i]), *b = EVP_EC_gen(curves[i]);
		printf("%s %d %d\n", curves[i], sign_and_verify(a, EVP_sha384()), agree(a, b));
		EVP_PKEY_free(a);
		EVP_PKEY_free(b);
	}
	static const char *const kinds[] = { "ED25519", "ED448", "X25519", "X448" };
	unsigned char secret[57];
	memset(secret, 0x5a, sizeof secret);
	for (int i = 0; i < 4; i++) {
		size_t size = (size_t[]){ 32, 57, 32, 56 }[i];
		EVP_PKEY *key = EVP_PKEY_new_raw_private_key_ex(NULL, kinds[i], NULL, secret, size);
		EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, kinds[i]);
		unsigned char public[57];
		EVP_PKEY_get_raw_public_key(key, public, &size);
		printf("%s %02x%02x %d\n", kinds[i], public[0], public[size - 1],
		       i < 2 ? sign_and_verify(key, NULL) : agree(key, other));
	}
	unsigned char secretly[200], opened[200];
	size_t size = sizeof secretly, length = sizeof opened;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(rsa, NULL);
	EVP_PKEY_encrypt_init(context);
	EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING);
	EVP_PKEY_encrypt(context, secretly, &size, message, sizeof message);
	EVP_PKEY_decrypt_init(context);
	EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING);
	printf("OAEP %d ", EVP_PKEY_decrypt(context, opened, &length, secretly, size));
	printf("%s\n", memcmp(opened, message, sizeof message) ? "differs" : "is the same");
	BIO *memory = BIO_new(BIO_s_mem());
	PEM_write_bio_PKCS8PrivateKey(memory, rsa, EVP_aes_128_cbc(), "word", 4, NULL, NULL);
	char *text;
	long written = BIO_get_mem_data(memory, &text);
	printf("%d %.37s\n", written > 900, text);
	EVP_PKEY *read = PEM_read_bio_PrivateKey(memory, NULL, NULL, (void *)"word");
	printf("%d\n", EVP_PKEY_eq(read, rsa));
	X509_NAME *name = X509_NAME_new();
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"Name", -1, -1, 0);
	X509_NAME_print_ex_fp(stdout, name, 0, XN_FLAG_RFC2253);
	EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, secret, 5);
	unsigned long error = ERR_peek_last_error();
	printf("\n%s\n", ERR_reason_error_string(error));
	return 0;
}
