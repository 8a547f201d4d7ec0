// Objects, types, static and thread-local lifetimes, calls through members: libstdc++, libgcc.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <tuple>
#include <typeindex>
#include <typeinfo>
#include <cxxabi.h>
#include <unwind.h>

struct Announce {
  std::string name;
  explicit Announce(const char *n) : name(n) { std::printf("+%s ", n); }
  ~Announce() { std::printf("-%s ", name.c_str()); }
};
static Announce global("global");
[[gnu::init_priority(200)]] static Announce earlier("earlier");
static thread_local Announce per_thread("per_thread");

struct Root { int r = 1; virtual int f() const { return r; } virtual Root *copy() const { return new Root(*this); } virtual ~Root() = default; };
struct A : virtual Root { int a = 2; int f() const override { return Root::f() + a; } A *copy() const override { return new A(*this); } };
struct B : virtual Root { int b = 3; virtual int g(int n) { return b * n; } B *copy() const override { return new B(*this); } };
struct C : A, B { int c = 4; int f() const override { return A::f() * c; } int g(int n) override { return B::g(n) + f(); } C *copy() const override { return new C(*this); } };

static int &counter() { static Announce local("local"); static int count = local.name.size(); return count; }

template <int N> struct Depth { [[gnu::noinline]] static int value(int n) { return Depth<N - 1>::value(n * N % 97) + N; } };
template <> struct Depth<0> { static int value(int n) { return n; } };

static int frames;
static _Unwind_Reason_Code count_frame(_Unwind_Context *context, void *) { frames += _Unwind_GetIP(context) != 0; return _URC_NO_REASON; }
[[gnu::noinline]] static int recurse(int n) { if (!n) { _Unwind_Backtrace(count_frame, nullptr); return 0; } int r = recurse(n - 1); return r + n; }

static std::size_t allocated;
void *operator new(std::size_t size) { allocated += size; if (void *p = std::malloc(size)) return p; throw std::bad_alloc(); }
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, std::size_t) noexcept { std::free(p); }

[[gnu::noinline]] static __int128 divide(__int128 a, __int128 b) { return a / b + a % b; }

int main() {
  per_thread.name += "!";
  C c; Root &root = c; A &a = c; B &b = c;
  std::printf("\n%d %d %d %d\n", root.f(), a.f(), b.g(5), dynamic_cast<B *>(&root)->g(1));
  std::unique_ptr<Root> copies[] = {std::unique_ptr<Root>(root.copy()), std::unique_ptr<Root>(B().copy()), std::unique_ptr<Root>(A().copy())};
  for (auto &copy : copies) {
    int status; char *name = abi::__cxa_demangle(typeid(*copy).name(), nullptr, nullptr, &status);
    std::printf("%s %d %d %d\n", name, copy->f(), dynamic_cast<C *>(copy.get()) != nullptr, dynamic_cast<A *>(copy.get()) != nullptr); std::free(name);
  }
  int (B::*member)(int) = &B::g; int (Root::*virtual_member)() const = &Root::f; int C::*data = &C::c;
  std::printf("%d %d %d\n", (c.*member)(7), (root.*virtual_member)(), c.*data);
  std::map<std::type_index, std::string> names{{typeid(int), "int"}, {typeid(C), "C"}, {typeid(std::string), "string"}};
  std::printf("%s %s %zu\n", names[typeid(int)].c_str(), names[typeid(c)].c_str(), names.size());
  counter() += 3; std::printf("%d %d\n", ++counter(), Depth<30>::value(11));
  std::printf("%d %d\n", recurse(25), frames > 25);
  try { typeid(*static_cast<Root *>(nullptr)).name(); } catch (const std::bad_typeid &e) { std::printf("%s\n", e.what()); }
  volatile std::size_t huge = std::size_t(1) << 62;
  try { auto *p = new (std::nothrow) char[huge]; std::printf("%d\n", p == nullptr); delete[] p; auto *q = new int[huge]; delete[] q; } catch (const std::bad_alloc &e) { std::printf("%s\n", e.what()); }
  auto [x, y, z] = std::make_tuple(1, 2.5, std::string("three")); std::printf("%d %g %s %d\n", x, y, z.c_str(), allocated > 100);
  std::printf("%lld\n", static_cast<long long>(divide(static_cast<__int128>(1) << 100, 1234567)));
  alignas(C) unsigned char storage[sizeof(C)]; C *placed = new (storage) C; std::printf("%d\n", placed->g(2)); placed->~C();
  std::string long_text; for (int i = 0; i < 100; ++i) long_text.insert(long_text.size() / 2, std::to_string(i)); std::printf("%zu %s\n", long_text.size(), long_text.substr(60, 20).c_str());
}
