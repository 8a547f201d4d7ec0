/* Integers, rationals and floats of any size: libgmp. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	mpz_t a, b, c, d;
	mpz_inits(a, b, c, d, NULL);
	mpz_fac_ui(a, 300);
	gmp_printf("%Zd\n", a);
	mpz_fib_ui(b, 2000);
	mpz_gcd(c, a, b);
	mpz_tdiv_qr(c, d, a, b);
	gmp_printf("%Zx %Zd\n", c, d);
	for (unsigned bits = 100; bits < 30000; bits *= 3) {
		mpz_ui_pow_ui(a, 3, bits);
		mpz_ui_pow_ui(b, 7, bits / 2);
		mpz_mul(c, a, b);
		mpz_add_ui(d, c, 12345);
		mpz_fdiv_q(d, d, a);
		mpz_sqrt(a, c);
		printf("%d %zu %lu %lu\n", mpz_cmp(d, b), mpz_sizeinbase(c, 10), mpz_popcount(a),
		       mpz_fdiv_ui(c, 1000003));
	}
	mpz_set_str(a, "170141183460469231731687303715884105727", 10);
	printf("%d %d ", mpz_probab_prime_p(a, 25), mpz_legendre(b, a));
	mpz_set_ui(b, 65537);
	mpz_powm(c, b, a, a);
	mpz_invert(d, b, a);
	gmp_printf("%Zd %Zd\n", c, d);
	mpz_nextprime(c, a);
	mpz_gcdext(a, b, d, c, d);
	gmp_printf("%Zd %Zd %Zd\n", a, b, c);
	gmp_randstate_t state;
	gmp_randinit_mt(state);
	gmp_randseed_ui(state, 42);
	mpz_urandomb(a, state, 4096);
	char *text = mpz_get_str(NULL, 62, a);
	puts(text);
	mpz_set_str(b, text, 62);
	printf("%d\n", mpz_cmp(a, b));
	free(text);
	mpq_t p, q;
	mpq_inits(p, q, NULL);
	for (int i = 1; i < 60; i++) {
		mpq_set_ui(q, 1, i);
		mpq_add(p, p, q);
	}
	gmp_printf("%Qd\n", p);
	mpf_set_default_prec(600);
	mpf_t x, y;
	mpf_init_set_ui(x, 2);
	mpf_init(y);
	mpf_sqrt(y, x);
	mpf_div(x, y, x);
	gmp_printf("%.150Ff %.40Fe\n", y, x);
	mpz_clears(a, b, c, d, NULL);
	return 0;
}
