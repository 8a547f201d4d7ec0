// Numbers of any size as C++ classes: libgmpxx, libgmp, libstdc++.
#include <gmpxx.h>
#include <iomanip>
#include <iostream>
#include <map>
#include <stdexcept>
#include <vector>

static mpz_class power(mpz_class base, unsigned long exponent) {
  mpz_class result = 1;
  for (; exponent; exponent >>= 1, base *= base) if (exponent & 1) result *= base;
  return result;
}

static std::map<mpz_class, int> factors(mpz_class number) {
  std::map<mpz_class, int> found;
  for (mpz_class p = 2; p * p <= number; p += p == 2 ? 1 : 2) while (number % p == 0) { ++found[p]; number /= p; }
  if (number > 1) ++found[number];
  return found;
}

int main() {
  for (unsigned long n = 10; n < 5000; n *= 4) { mpz_class value = power(n + 1, n / 10 + 3) - 1; std::cout << value.get_str(36).substr(0, 40) << ' ' << sgn(value) << ' ' << mpz_sizeinbase(value.get_mpz_t(), 2) << '\n'; }
  for (auto &[prime, count] : factors(mpz_class("1234567890987654320"))) std::cout << prime << '^' << count << ' ';
  mpq_class harmonic = 0; for (int i = 1; i <= 40; ++i) harmonic += mpq_class(1, i);
  std::cout << '\n' << harmonic << ' ' << harmonic.get_d() << '\n';
  mpf_class pi(0, 400), term(1, 400), four(4, 400);
  for (int k = 0; k < 80; ++k) { mpf_class a(four / (8 * k + 1)), b(mpf_class(2, 400) / (8 * k + 4)), c(mpf_class(1, 400) / (8 * k + 5)), d(mpf_class(1, 400) / (8 * k + 6)); pi += term * (a - b - c - d); term /= 16; }
  std::cout << std::setprecision(80) << pi << ' ' << std::hex << std::showbase << mpz_class(255) << std::dec << '\n';
  try { mpz_class bad("12x4"); } catch (const std::invalid_argument &error) { std::cout << error.what() << '\n'; }
  std::vector<mpz_class> sequence{0, 1}; while (sequence.size() < 300) sequence.push_back(sequence[sequence.size() - 1] + sequence[sequence.size() - 2]);
  std::cout << sequence.back() << ' ' << gcd(sequence[60], sequence[90]) << ' ' << sqrt(sequence[200]) << ' ' << (sequence[100] ^ sequence[99] | 7) << '\n';
}
