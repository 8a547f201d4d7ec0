/* TLS between two ends in one process, all versions, with a certificate made here: libssl. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static X509 *certificate(EVP_PKEY *key)
{
	X509 *made = X509_new();
	X509_set_version(made, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made), 77);
	X509_gmtime_adj(X509_getm_notBefore(made), -100);
	X509_gmtime_adj(X509_getm_notAfter(made), 100000);
	X509_set_pubkey(made, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
				   (const unsigned char *)"host.example", -1, -1, 0);
	X509_set_issuer_name(made, X509_get_subject_name(made));
	X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:host.example");
	X509_add_ext(made, names, -1);
	X509_EXTENSION_free(names);
	X509_sign(made, key, EVP_sha256());
	return made;
}

static int steps;
static int run(SSL *one, SSL *other)
{
	for (steps = 0; steps < 30; steps++) {
		int a = SSL_do_handshake(one), b = SSL_do_handshake(other);
		if (a == 1 && b == 1)
			return 1;
		if ((a < 1 && SSL_get_error(one, a) == SSL_ERROR_SSL) || (b < 1 && SSL_get_error(other, b) == SSL_ERROR_SSL))
			return 0;
	}
	return -1;
}

static void connection(EVP_PKEY *key, X509 *own, int version, const char *ciphers, int trusted)
{
	SSL_CTX *server = SSL_CTX_new(TLS_server_method()), *client = SSL_CTX_new(TLS_client_method());
	SSL_CTX_use_certificate(server, own);
	SSL_CTX_use_PrivateKey(server, key);
	SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL);
	if (trusted)
		X509_STORE_add_cert(SSL_CTX_get_cert_store(client), own);
	SSL_CTX_set_min_proto_version(client, version);
	SSL_CTX_set_max_proto_version(client, version);
	if (version == TLS1_3_VERSION)
		SSL_CTX_set_ciphersuites(client, ciphers);
	else
		SSL_CTX_set_cipher_list(client, ciphers);
	SSL *a = SSL_new(server), *b = SSL_new(client);
	BIO *left, *right;
	BIO_new_bio_pair(&left, 0, &right, 0);
	SSL_set_bio(a, left, left);
	SSL_set_bio(b, right, right);
	SSL_set_accept_state(a);
	SSL_set_connect_state(b);
	SSL_set1_host(b, trusted == 2 ? "other.example" : "host.example");
	int done = run(a, b);
	printf("%s %s %d %s\n", SSL_get_version(b), SSL_get_cipher_name(b), done,
	       X509_verify_cert_error_string(SSL_get_verify_result(b)));
	if (done == 1) {
		unsigned sum = 0, count = 0;
		for (int i = 0; i < 20; i++) {
			char line[3000], back[3000];
			memset(line, 'a' + i, sizeof line);
			SSL_write(i % 2 ? a : b, line, 500 + i * 100);
			int got = SSL_read(i % 2 ? b : a, back, sizeof back);
			for (int j = 0; j < got; j++, count++)
				sum = sum * 31 + back[j];
			if (i == 10 && version == TLS1_3_VERSION)
				SSL_key_update(a, SSL_KEY_UPDATE_REQUESTED);
		}
		printf("%u %08x %d\n", count, sum, SSL_shutdown(a) | SSL_shutdown(b));
	}
	unsigned long error = ERR_get_error();
	printf("%s\n", error ? ERR_reason_error_string(error) : "no error");
	ERR_clear_error();
	SSL_free(a);
	SSL_free(b);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

int main(void)
{
	EVP_PKEY *keys[] = { EVP_EC_gen("P-256"), EVP_RSA_gen(2048) };
	for (int i = 0; i < 2; i++) {
		X509 *own = certificate(keys[i]);
		printf("%d\n", X509_verify(own, keys[i]));
		connection(keys[i], own, TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", 1);
		connection(keys[i], own, TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", 1);
		connection(keys[i], own, TLS1_2_VERSION, "ECDHE+AES128:@SECLEVEL=1", 1);
		connection(keys[i], own, TLS1_2_VERSION, "ECDHE+CHACHA20", 1);
		connection(keys[i], own, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 0);
		connection(keys[i], own, TLS1_2_VERSION, "HIGH", 2);
		X509_free(own);
	}
	return 0;
}
