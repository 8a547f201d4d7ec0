/* Mathematical functions, complex numbers, long double, what libgcc computes: libm, libgcc. */
#define _GNU_SOURCE
#include <complex.h>
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef double (*function)(double);
static const struct { const char *name; function f; } functions[] = {
#define F(name) { #name, name }
	F(sin), F(cos), F(tan), F(asin), F(acos), F(atan), F(sinh), F(cosh), F(tanh), F(asinh),
	F(acosh), F(atanh), F(exp), F(exp2), F(exp10), F(expm1), F(log), F(log2), F(log10), F(log1p),
	F(sqrt), F(cbrt), F(erf), F(erfc), F(tgamma), F(lgamma), F(j0), F(j1), F(y0), F(y1), F(ceil),
	F(floor), F(trunc), F(round), F(rint), F(nearbyint), F(logb), F(fabs),
};
static const double arguments[] = { 0.0, 0.3, -0.7, 1.0, 2.5, -8.25, 33.3, 1e-9, 1e10, 1e300 };

int main(void)
{
	for (unsigned i = 0; i < sizeof functions / sizeof *functions; i++) {
		printf("%s", functions[i].name);
		for (unsigned j = 0; j < sizeof arguments / sizeof *arguments; j++) {
			double value = functions[i].f(arguments[j]);
			printf(" %.12g", isnan(value) ? 0.0 : value);
		}
		putchar('\n');
	}
	for (unsigned i = 1; i < 9; i++) {
		double a = arguments[i], b = arguments[9 - i];
		int exponent, quotient;
		double whole, fraction = modf(a, &whole), mantissa = frexp(b, &exponent);
		printf("%.12g %.12g %.12g %.12g %.12g %.12g\n", pow(fabs(a), b / 10), atan2(a, b), hypot(a, b),
		       fmod(b, a), remquo(b, a, &quotient), fma(a, b, -a));
		printf("%.12g %.12g %.12g %d %d %.12g %ld\n", fraction, whole, mantissa, exponent, quotient & 7,
		       nextafter(a, b), lround(a));
	}
	double complex z = 1.5 - 2.25 * I;
	double complex results[] = { csin(z), cexp(z), clog(z), csqrt(z), cpow(z, z), catanh(z), z / (z + 3) };
	for (unsigned i = 0; i < sizeof results / sizeof *results; i++)
		printf("%.12g %.12g\n", creal(results[i]), cimag(results[i]));
	for (int i = -3; i < 4; i++) {
		long double x = i * 1.37L + 0.01L;
		printf("%.25Lg %.25Lg %.25Lg %.25Lg\n", sinl(x), expl(x), x * x / 3, fmal(x, x, x));
	}
#ifndef __clang__
	_Float128 quad = 2;
	for (int i = 0; i < 6; i++)
		quad = (quad + 2 / quad) / 2;
	char text[60];
	strfromf128(text, sizeof text, "%.33g", quad);
	puts(text);
#endif
	unsigned __int128 big = 1;
	for (int i = 2; i < 30; i++)
		big *= i;
	for (__int128 by = 7; by < (__int128)1 << 100; by = by * 12345 + 1) {
		unsigned __int128 quotient = big / (unsigned __int128)by, rest = big % (unsigned __int128)by;
		printf("%016llx%016llx %016llx\n", (unsigned long long)(quotient >> 64),
		       (unsigned long long)quotient, (unsigned long long)rest);
		printf("%.15g %lld\n", (double)(__int128)rest, (long long)(__int128)((double)by));
	}
	for (uint64_t i = 3; i < (uint64_t)1 << 60; i = i * 37 + 5)
		printf("%d %d %d %d ", __builtin_popcountll(i), __builtin_clzll(i), __builtin_ctzll(i),
		       __builtin_parityll(i));
	for (int mode = 0; mode < 4; mode++) {
		fesetround(mode);
		printf("\n%.17g %.17g %g", 1.0 / 3 * arguments[4], rint(arguments[3] + 1.5), arguments[8] / 3);
	}
	feclearexcept(FE_ALL_EXCEPT);
	volatile double zero = 0;
	zero = 1 / zero;
	printf("\n%d %d\n", fetestexcept(FE_DIVBYZERO) != 0, fetestexcept(FE_OVERFLOW) != 0);
	return 0;
}
