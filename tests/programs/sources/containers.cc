// Containers, algorithms, memory, functions: libstdc++.
#include <algorithm>
#include <any>
#include <array>
#include <bitset>
#include <charconv>
#include <cstdio>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <optional>
#include <queue>
#include <random>
#include <ranges>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

struct Shape { virtual double area() const = 0; virtual ~Shape() = default; };
struct Square : Shape { double side; explicit Square(double s) : side(s) {} double area() const override { return side * side; } };
struct Circle : Shape { double radius; explicit Circle(double r) : radius(r) {} double area() const override { return 3.14159 * radius * radius; } };

template <class... Ts> struct overloaded : Ts... { using Ts::operator()...; };

int main() {
  std::mt19937_64 random(42);
  std::vector<long> numbers(3000);
  for (auto &number : numbers) number = static_cast<long>(random() % 10007);
  std::map<long, int> counts;
  std::unordered_map<std::string, long> sums;
  std::multiset<long, std::greater<>> ordered(numbers.begin(), numbers.begin() + 200);
  for (long number : numbers) { ++counts[number % 101]; sums["key" + std::to_string(number % 37)] += number; }
  for (auto &[key, count] : counts) if (key % 20 == 0) std::printf("%ld:%d ", key, count);
  std::vector<std::pair<std::string, long>> sorted(sums.begin(), sums.end());
  std::ranges::sort(sorted, {}, &std::pair<std::string, long>::first);
  for (auto &[key, sum] : sorted | std::views::take(5)) std::printf("%s=%ld ", key.c_str(), sum);
  std::printf("%ld %ld\n", *ordered.begin(), *std::next(ordered.begin(), 100));
  std::stable_sort(numbers.begin(), numbers.end(), [](long a, long b) { return a % 100 < b % 100; });
  std::nth_element(numbers.begin() + 1000, numbers.begin() + 1500, numbers.begin() + 2000);
  std::make_heap(numbers.begin(), numbers.begin() + 500);
  std::sort_heap(numbers.begin(), numbers.begin() + 500);
  std::rotate(numbers.begin(), numbers.begin() + 77, numbers.end());
  std::printf("%ld %ld %ld %ld\n", numbers[0], numbers[1423], std::accumulate(numbers.begin(), numbers.end(), 0L),
              std::inner_product(numbers.begin(), numbers.end(), numbers.rbegin(), 1L));
  std::list<int> list(50); std::iota(list.begin(), list.end(), -7);
  std::list<int> more{100, 3, 50}; more.sort(); list.merge(more); list.remove_if([](int n) { return n % 3 == 0; }); list.reverse();
  std::forward_list<int> single(list.begin(), list.end()); single.unique();
  std::deque<std::string> deque;
  for (int i = 0; i < 300; ++i) if (i % 2) deque.push_back(std::string(i % 40, 'x')); else deque.push_front(std::to_string(i));
  std::printf("%d %d %zu %s %zu\n", list.front(), single.front(), deque.size(), deque[3].c_str(), deque[290].size());
  std::priority_queue<std::pair<int, std::string>> queue;
  for (int i = 0; i < 30; ++i) queue.emplace(i * 17 % 31, "task" + std::to_string(i));
  for (; queue.size() > 25; queue.pop()) std::printf("%d %s, ", queue.top().first, queue.top().second.c_str());
  std::vector<std::unique_ptr<Shape>> shapes;
  for (int i = 0; i < 20; ++i) if (i % 3) shapes.push_back(std::make_unique<Square>(i)); else shapes.push_back(std::make_unique<Circle>(i));
  double area = 0; for (auto &shape : shapes) area += shape->area();
  std::shared_ptr<Shape> shared = std::move(shapes[4]); std::weak_ptr<Shape> weak = shared; auto copy = shared;
  std::printf("%.3f %ld %d %d\n", area, shared.use_count(), weak.expired(), dynamic_cast<Square *>(copy.get()) != nullptr);
  using Value = std::variant<int, double, std::string, std::vector<int>>;
  for (const Value &value : {Value(1), Value(2.5), Value("text"), Value(std::vector{1, 2, 3})})
    std::visit(overloaded{[](int n) { std::printf("int %d ", n); }, [](double d) { std::printf("double %g ", d); },
                          [](const std::string &s) { std::printf("string %s ", s.c_str()); },
                          [](const std::vector<int> &v) { std::printf("vector %zu ", v.size()); }}, value);
  std::any any = std::string("any"); std::optional<int> none;
  try { std::any_cast<int>(any); } catch (std::bad_any_cast &e) { std::printf("%s ", e.what()); }
  try { none.value(); } catch (std::bad_optional_access &e) { std::printf("%s ", e.what()); }
  std::function<int(int)> factorial = [&](int n) { return n < 2 ? 1 : n * factorial(n - 1); };
  auto bound = std::bind(std::plus<>(), std::placeholders::_1, 10);
  std::printf("%d %d\n", factorial(10), bound(5));
  std::byte buffer[4096]; std::pmr::monotonic_buffer_resource pool(buffer, sizeof buffer);
  std::pmr::vector<std::pmr::string> strings(&pool); for (int i = 0; i < 60; ++i) strings.emplace_back(std::string(20 + i, 'p'));
  char digits[64]; auto end = std::to_chars(digits, digits + 64, 3.141592653589793); double parsed; std::from_chars(digits, end.ptr, parsed);
  std::bitset<200> bits; for (int i = 0; i < 200; i += 7) bits.set(i);
  std::printf("%zu %.*s %g %zu %s\n", strings.back().size(), int(end.ptr - digits), digits, parsed, bits.count(), (bits >> 150).to_string().substr(150).c_str());
  std::normal_distribution<> normal(5, 2); std::poisson_distribution<> poisson(4); std::discrete_distribution<> discrete{1, 2, 3};
  for (int i = 0; i < 5; ++i) std::printf("%.6f %d %d ", normal(random), poisson(random), discrete(random));
  std::vector<int> order{1, 2, 3, 4}; int permutations = 0; do ++permutations; while (std::next_permutation(order.begin(), order.end()));
  std::string text = "the quick brown fox"; std::ranges::reverse(text);
  std::printf("%d %s %zu\n", permutations, text.c_str(), std::string_view(text).find("kciuq"));
}
