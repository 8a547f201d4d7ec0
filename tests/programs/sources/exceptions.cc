// Exceptions of all kinds: libstdc++, libgcc_eh.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <vector>

struct Traced {
  explicit Traced(int n) : number(n) { if (n == 13) throw std::out_of_range("thirteen"); ++alive; }
  Traced(const Traced &other) : number(other.number) { ++alive; }
  ~Traced() { --alive; std::printf("~%d ", number); }
  int number;
  static int alive;
};
int Traced::alive;

struct Base { virtual ~Base() = default; virtual const char *what() const { return "base"; } };
struct Left : virtual Base { const char *what() const override { return "left"; } };
struct Right : virtual Base {};
struct Both : Left, Right { const char *what() const override { return "both"; } };

[[gnu::noinline]] static int deep(int depth, int kind) {
  Traced guard(depth);
  if (depth == 0)
    switch (kind) {
    case 0: throw 42;
    case 1: throw std::string("text");
    case 2: throw Both();
    case 3: throw std::system_error(std::make_error_code(std::errc::permission_denied), "system");
    case 4: return std::vector<int>(3).at(7);
    case 5: throw &guard.number;
    case 6: return static_cast<int>(std::stol("not a number"));
    case 7: dynamic_cast<Right &>(*std::make_unique<Base>()).what(); break;
    case 8: std::function<int()>()(); break;
    default: return 1;
    }
  return deep(depth - 1, kind) + guard.number;
}

static void nested(int level) {
  try {
    if (level == 0) throw std::runtime_error("innermost");
    nested(level - 1);
  } catch (...) {
    std::throw_with_nested(std::logic_error("level " + std::to_string(level)));
  }
}

static void unwind(const std::exception &error) {
  std::printf("%s; ", error.what());
  try { std::rethrow_if_nested(error); } catch (const std::exception &inner) { unwind(inner); }
}

struct Member {
  Member() try : first(1), second(13) {} catch (std::exception &error) { std::printf("%s: ", error.what()); }
  Traced first, second;
};

struct Late { ~Late() { std::printf("%d uncaught ", std::uncaught_exceptions()); } };

static void leave() noexcept { throw 1; }

int main() {
  for (int kind = 0; kind < 10; ++kind) {
    try { std::printf("%d\n", deep(4, kind)); }
    catch (int number) { std::printf("int %d\n", number); }
    catch (const std::string &text) { std::printf("%s\n", text.c_str()); }
    catch (const Right &right) { std::printf("%s %s\n", right.what(), typeid(right).name()); }
    catch (const std::system_error &error) { std::printf("%d %s\n", error.code().value(), error.what()); }
    catch (const std::exception &error) { std::printf("%s %s\n", typeid(error).name(), error.what()); }
    catch (const void *) { std::puts("a pointer"); }
    catch (...) { std::puts("anything"); }
  }
  try { nested(5); } catch (const std::exception &error) { unwind(error); }
  try { Member member; } catch (const std::out_of_range &error) { std::printf("%s\n", error.what()); }
  std::exception_ptr kept;
  try { Late late; throw std::bad_alloc(); } catch (...) { kept = std::current_exception(); }
  for (int i = 0; i < 2; ++i)
    try { std::rethrow_exception(kept); } catch (std::bad_alloc &error) { std::printf("%s\n", error.what()); }
  try { std::vector<Traced> all; for (int i = 10; i < 20; ++i) all.emplace_back(i); }
  catch (std::exception &error) { std::printf("%s\n", error.what()); }
  int sum = 0;
  for (int i = 0; i < 300; ++i)
    try { deep(i % 5, i % 9); } catch (...) { sum += i; }
  std::printf("\n%d %d\n", sum, Traced::alive);
  std::set_terminate([] {
    try { throw; } catch (int number) { std::printf("terminated by %d\n", number); }
    std::fflush(stdout);
    std::_Exit(0);
  });
  leave();
}
