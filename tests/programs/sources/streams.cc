// Streams, locales, files and paths, time, regular expressions: libstdc++.
#include <chrono>
#include <cmath>
#include <complex>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <locale>
#include <regex>
#include <sstream>
#include <valarray>

namespace fs = std::filesystem;

struct Grouping : std::numpunct<char> {
  char do_thousands_sep() const override { return '.'; }
  char do_decimal_point() const override { return ','; }
  std::string do_grouping() const override { return "\3"; }
};

struct Point { int x, y; };
static std::ostream &operator<<(std::ostream &out, const Point &p) { return out << '(' << p.x << ", " << p.y << ')'; }
static std::istream &operator>>(std::istream &in, Point &p) { char c; return in >> c >> p.x >> c >> p.y >> c; }

int main() {
  std::cout << std::setw(10) << std::left << "left" << '|' << std::right << std::setfill('*') << std::setw(8) << 42 << '|'
            << std::hex << std::showbase << 255 << ' ' << std::oct << 8 << std::dec << ' ' << std::boolalpha << true << '\n';
  for (auto format : {std::ios::fixed, std::ios::scientific, std::ios::fixed | std::ios::scientific}) {
    std::cout.setf(format, std::ios::floatfield);
    std::cout << std::setprecision(5) << M_PI << ' ' << 1e20 << ' ' << -0.00012f << ' ' << 1.0L / 3 << '\n';
  }
  std::cout << std::defaultfloat << std::setprecision(10) << std::complex<double>(1, -2) << ' ' << std::quoted("a \"b\"") << '\n';
  std::ostringstream grouped; grouped.imbue(std::locale(std::locale::classic(), new Grouping));
  grouped << 1234567890L << ' ' << 9876.5; std::cout << grouped.str() << '\n';
  std::istringstream in("12 0x1f word (3, 4) 1e3 bad"); in >> std::setbase(0);
  int a, b; std::string word; Point p; double d; in >> a >> b >> word >> p >> d; std::cout << a << ' ' << b << ' ' << word << ' ' << p << ' ' << d;
  in >> a; std::cout << ' ' << in.fail() << in.eof() << '\n';
  try { in.exceptions(std::ios::failbit); } catch (const std::ios_base::failure &e) { std::cout << e.what() << '\n'; }
  std::wostringstream wide; wide << L"wide " << 7 << L' ' << 2.5; std::cout << wide.str().size() << '\n';
  fs::create_directories("dir/sub/deep");
  for (int i = 0; i < 6; ++i) { std::ofstream file(fs::path("dir/sub") / ("f" + std::to_string(i) + ".txt")); file << std::string(i * 10, 'z') << '\n' << i; }
  std::ifstream("dir/sub/f3.txt") >> word; std::cout << word << '\n';
  fs::copy("dir/sub", "dir/copy", fs::copy_options::recursive); fs::rename("dir/copy/f1.txt", "dir/g1.txt"); fs::remove("dir/copy/f2.txt");
  std::vector<std::string> names; std::uintmax_t total = 0;
  for (auto &entry : fs::recursive_directory_iterator("dir")) { names.push_back(entry.path().generic_string()); if (entry.is_regular_file()) total += entry.file_size(); }
  std::sort(names.begin(), names.end()); std::copy(names.begin(), names.end(), std::ostream_iterator<std::string>(std::cout, " "));
  std::cout << total << ' ' << fs::path("/a/b/../c.tar.gz").lexically_normal() << fs::path("a/b.c").extension() << fs::relative("dir/sub", "dir/copy") << '\n';
  try { (void)fs::file_size("missing"); } catch (const fs::filesystem_error &e) { std::cout << e.code().message() << '\n'; }
  std::error_code code; fs::remove("dir", code); std::cout << code << ' ' << fs::remove_all("dir") << '\n';
  std::string text = "ab12cd345ef6 2024-02-29, john@example.org and x.y@z.net";
  std::regex number("[0-9]+"), date(R"((\d{4})-(\d\d)-(\d\d))"), mail(R"(([\w.]+)@(\w+\.\w+))", std::regex::icase | std::regex::optimize);
  for (std::sregex_iterator it(text.begin(), text.end(), number), end; it != end; ++it) std::cout << it->str() << '@' << it->position() << ' ';
  std::smatch match; std::regex_search(text, match, date); std::cout << match[1] << '/' << match[3] << ' ' << match.prefix().length() << ' ' << std::regex_replace(text, mail, "<$2:$1>") << '\n';
  std::regex gap("[ ,]+");
  for (std::sregex_token_iterator it(text.begin(), text.end(), gap, -1), end; it != end; ++it) std::cout << '[' << *it << ']';
  try { std::regex bad("(["); } catch (const std::regex_error &e) { std::cout << (e.code() == std::regex_constants::error_brack) << '\n'; }
  using namespace std::chrono;
  auto day = sys_days(year(2024) / February / 29); std::cout << day.time_since_epoch().count() << ' ' << weekday(day).c_encoding() << ' ' << duration_cast<minutes>(hours(3) + seconds(61)).count() << '\n';
  std::time_t moment = 1700000000; std::cout << std::put_time(std::gmtime(&moment), "%A %c %x") << '\n';
  std::tm parts{}; std::istringstream("2001-Feb-03 04:05:06") >> std::get_time(&parts, "%Y-%b-%d %T"); std::cout << parts.tm_mon << parts.tm_sec << '\n';
  std::valarray<double> v{1, 2, 3, 4, 5, 6}; v = std::sqrt(v) * 2.0; std::cout << v.sum() << ' ' << std::valarray<double>(v[std::slice(0, 3, 2)]).max() << '\n';
  std::cout << std::put_money(123456) << std::use_facet<std::ctype<char>>(std::locale()).toupper('q') << ' ' << std::locale().name() << std::endl;
  std::cout << std::hypot(3, 4) << ' ' << std::polar(1.0, 2.0) << ' ' << std::pow(std::complex<double>(1, 2), 3) << std::flush << '\n';
}
